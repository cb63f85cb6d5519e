"""Several trainings one after the other in the same processes: ``stl_runs.py LAUNCHER RUN...``.

A RUN is ``CONFIG,WORK_DIR,TEACHER,RESUME`` with empty strings for none.
"""

import sys

from mmengine.config import Config

from fan_mm.jobs.training import train


def main() -> None:
    launcher, *runs = sys.argv[1:]
    for number, text in enumerate(runs):
        config, work_dir, teacher, resume = text.split(',')
        cfg = Config.fromfile(config)
        cfg.work_dir = work_dir
        if teacher:
            cfg.model.teacher = teacher
        # mmengine finds loggers and visualizers of a process by name
        cfg.experiment_name = cfg.visualizer.name = f'run_{number}'
        train(cfg, launcher, resume or None)


if __name__ == '__main__':
    main()
