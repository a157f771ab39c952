"""Reading of the pages that the project writes."""

from __future__ import annotations

import html.parser


class PageParser(html.parser.HTMLParser):
    """Checks that tags nest, and collects text, scripts and addresses."""

    VOID = frozenset({"meta", "img", "br", "link", "col"})

    def __init__(self, page: str):
        super().__init__()
        self.open, self.text, self.scripts, self.addresses, self.tables = [], [], [], [], 0
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tables += tag == "table"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] in ("script", "style") else self.text).append(data)
