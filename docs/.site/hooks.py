"""MkDocs hooks: read the Markdown of the repository, give pages whose links work in the site too.

Links are written for readers of the repository. In the site READMEs are pages, files outside
`docs/` are copied along, and a link to a folder is its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
READMES: Final = {
    "README.md": "index.md",
    "infra/README.md": "infrastructure.md",
    "tests/data/README.md": "test-data.md",
}
COPIES: Final = "repository"
_SHIM: Final = "https://unpkg.com/iframe-worker/shim"
# Code first, so that what looks like a link inside it is left alone.
_LINK: Final = re.compile(r"```.*?```|`[^`\n]*`|(!?)\[([^\]]*)\]\(([^)\s]+)\)", re.DOTALL)


def source_of(page: str) -> str:
    """Path in the repository of a page's path in the site."""
    return next((source for source, name in READMES.items() if name == page), f"docs/{page}")


def site_path(source: str) -> str:
    """Path in the site of a file's path in the repository."""
    if source in READMES:
        return READMES[source]
    # Without the dot, which MkDocs takes for "leave out".
    return source.removeprefix("docs/") if source.startswith("docs/") else _copy_of(source)


def _copy_of(source: str) -> str:
    return f"{COPIES}/{source.lstrip('.')}"


def linked(markdown: str, source: str) -> set[str]:
    """Paths in the repository of what a file's relative links and images point to."""
    folder = posixpath.dirname(source)
    targets = (match[3].partition("#")[0] for match in _LINK.finditer(markdown) if match[3])
    return {
        posixpath.normpath(posixpath.join(folder, target))
        for target in targets
        if target and "://" not in target and not target.startswith("mailto:")
    }


def relinked(markdown: str, page: str) -> str:
    """A page's Markdown with its links as the site has their targets."""
    source = source_of(page)
    folder = posixpath.dirname(source)

    def link(match: re.Match[str]) -> str:
        target, hash_, anchor = (match[3] or "").partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if (ROOT / path).is_dir():
            return match[2]
        here = posixpath.relpath(site_path(path), posixpath.dirname(page) or ".")
        return f"{match[1]}[{match[2]}]({here}{hash_}{anchor})"

    return _LINK.sub(link, markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the READMEs as pages, and what pages link to outside `docs/` as files."""
    for source, page in READMES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    targets: set[str] = set()
    for file in files.documentation_pages():
        targets |= linked(file.content_string, source_of(file.src_uri))
    for target in sorted(targets):
        path = ROOT / target
        if not target.startswith("docs/") and target not in READMES and path.is_file():
            files.append(File.generated(config, _copy_of(target), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page's links."""
    return relinked(markdown, page.file.src_uri)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Have the search's helper for pages opened from disk come from the site itself."""
    return output.replace(
        _SHIM,
        posixpath.relpath("assets/iframe-worker.js", posixpath.dirname(page.file.dest_uri) or "."),
    )


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for pages without Markdown, which lie beside the index."""
    return output.replace(_SHIM, "assets/iframe-worker.js")
