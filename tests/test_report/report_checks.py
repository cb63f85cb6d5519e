"""What several tests ask of pages and figures."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tables as lists of rows, tags in order, and every address that a browser would fetch."""

    VOID = {'meta', 'img', 'link', 'br', 'input'}

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.addresses, self.open, self.text = [], [], [], [], []
        self.feed(text)
        assert not self.open, f'not closed: {self.open}'

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.addresses += [
            v for k, v in attributes.items() if k in ('src', 'href', 'srcset', 'data')
        ]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == 'table':
            self.tables.append([])
        if tag == 'tr':
            self.tables[-1].append([])
        if tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'td' in self.open or ('th' in self.open and 'table' in self.open):
            self.tables[-1][-1][-1] += data
        self.text.append(data)


def read_page(folder, name='report.html'):
    text = (folder / name).read_text()
    return text, Page(text)


def assert_fetches_nothing(text, page):
    for address in page.addresses:
        assert address.startswith(('#', 'data:')), address
    assert not re.search(r'https?://|@import|<script[^>]*src', text)
    for target in re.findall(r'url\(([^)]*)\)', text):
        assert target.startswith('#')


def assert_labels_inside(figure):
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.01, drawn.extents


def notice_with(comparison, words):
    return [notice for notice in comparison.notices if words in notice]
