// The explorer: choose a picture, a corruption and a severity; the pictures and the score follow.
(() => {
  const root = document.getElementById('explorer');
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const [picture, corruption, severity] = ['picture', 'corruption', 'severity']
    .map(name => root.querySelector(`[name=${name}]`));
  const shown = root.querySelector('output');

  function show() {
    const sample = data.samples[picture.value];
    const name = corruption.selectedOptions[0].textContent;
    const level = Number(severity.value);
    const cell = level === 0 ? sample.clean : (sample.cells[corruption.value] || {})[level];
    const score = level === 0 ? data.scores.clean : (data.scores[corruption.value] || {})[level];
    const what = level === 0 ? 'clean' : `${name}, severity ${level}`;
    shown.textContent = `${what}: ` + (score === undefined ? 'no result'
      : `${data.metric} ${score}`) + (level ? `, clean ${data.scores.clean ?? '–'}` : '');
    const sources = {
      corrupted: cell && cell.image, prediction: cell && cell.prediction, error: cell && cell.error,
      clean: sample.clean.image, prediction_clean: sample.clean.prediction, truth: sample.truth,
    };
    for (const figure of root.querySelectorAll('figure')) {
      const role = figure.dataset.role, image = figure.querySelector('img');
      const needed = data.roles.includes(role);
      figure.hidden = !needed;
      image.hidden = !sources[role];
      if (sources[role]) image.src = sources[role]; else image.removeAttribute('src');
      const caption = role === 'corrupted' ? what : figure.dataset.caption;
      image.alt = `${sample.key}: ${caption}`;
      figure.querySelector('figcaption').textContent =
        caption + (needed && !sources[role] ? ': not kept' : '');
    }
  }

  for (const control of [picture, corruption, severity]) control.addEventListener('input', show);
  root.hidden = false;
  document.querySelector('nav a[href="#explorer"]').parentElement.hidden = false;
  show();
})();
