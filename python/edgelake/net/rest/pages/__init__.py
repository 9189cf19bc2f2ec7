"""Replies as pages for a browser: text, JSON, tables and charts. Spec: "REST API", section 11.

A page holds no script and names no other address; charts are drawn here, as SVG. Data reaches a page as text of an
element tree alone, so it never becomes markup. What is loaded only when somebody asks for a page.
"""

from edgelake.net.rest.pages.additions import additions
from edgelake.net.rest.pages.page import PAGE_HEADERS, Answered, error_page, kind_of, page

__all__ = ["PAGE_HEADERS", "Answered", "additions", "error_page", "kind_of", "page"]
