"""The layout of the pages: a template of the host, and its block for the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jinja2 import Environment, Template, TemplateError, TemplateNotFound, nodes

from ..app_state import AppState, logger, prepared
from ..errors import ConfigurationError

_OURS = "flask_webhooks/layout.html"
#: Names that a page would lose if it replaced the block that contains them.
_SURROUNDINGS = re.compile(r"<(header|nav|aside|footer|main)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """The template between page and layout that page.html extends, because the name of a block cannot be a
    variable.
    """

    template: Template
    #: Name of the layout template.
    name: str
    block: str
    #: Whether it has a block for pages.
    fits: bool


@prepared
def layout_of(state: AppState) -> Layout:
    """Return the layout of an application. It is checked once, and problems are logged."""
    name, block = _OURS, "content"
    fits = True
    environment = state.app.jinja_env
    if state.settings.base_template is not None:
        name, block = state.settings.base_template, state.settings.base_block
        try:
            _check(environment, name, block)
        except ConfigurationError as error:
            logger.error("%s", error)
            fits = False
        except TemplateError:
            # Our pages report it; the host's other pages may not need this template.
            pass
    template = environment.from_string(_layout_source(name, block))
    return Layout(template, name, block, fits)


def template_of(state: AppState, *, for_portal: bool = False) -> Template:
    """Return the template that pages extend.

    :param for_portal: use the built-in layout, because the host's menu is for signed-in users.
    :raises ConfigurationError: there is no such template, or it has no block for pages.
    """
    if for_portal:
        return state.app.jinja_env.from_string(_layout_source(_OURS, "content"))
    layout = layout_of(state)
    if not layout.fits:
        # Checked again: templates can be corrected while the application runs.
        _check(state.app.jinja_env, layout.name, layout.block)
    return layout.template


def _layout_source(name: str, block: str) -> str:
    return (
        f"{{% extends {name!r} %}}"
        f"{{% block {block} %}}{{% block wh_page %}}{{% endblock %}}{{% endblock %}}"
    )


def _check(environment: Environment, name: str, block: str) -> None:
    blocks = _blocks(environment, name)
    if blocks is None:
        # Its parent is only known during a request.
        return
    if block not in blocks:
        known = ", ".join(sorted(blocks)) or "none; write {% block content %}{% endblock %} into it"
        raise ConfigurationError(
            f"The template {name!r} of WEBHOOKS_BASE_TEMPLATE shows no block {block!r}, so pages would be empty. Set "
            f"WEBHOOKS_BASE_BLOCK to the block that should contain them. Its blocks: {known}."
        )
    if _has_surroundings(blocks[block]):
        logger.warning(
            "The block %r of the template %r has content of its own, such as a header or a menu, and pages replace "
            "it. Set WEBHOOKS_BASE_BLOCK to a block inside of it, or WEBHOOKS_BASE_TEMPLATE to a template that "
            "extends %r, repeats what should stay and has a block for the pages.",
            block,
            name,
            name,
        )


def _blocks(environment: Environment, name: str) -> dict[str, nodes.Block] | None:
    """Return the blocks of a template and its ancestors; ``None`` if the ancestors are not known in advance."""
    tree = _parsed(environment, name)
    extends = tree.find(nodes.Extends)
    if extends is None:
        return {block.name: block for block in tree.find_all(nodes.Block)}
    if not isinstance(extends.template, nodes.Const):
        return None
    shown = _blocks(environment, extends.template.value)
    if shown is None:
        return None
    for block in tree.body:
        # Outside of its ancestors' blocks, a template renders nothing.
        if isinstance(block, nodes.Block) and block.name in shown:
            if not _calls_super(block):
                for lost in shown[block.name].find_all(nodes.Block):
                    shown.pop(lost.name, None)
            shown |= {item.name: item for item in (block, *block.find_all(nodes.Block))}
    return shown


def _parsed(environment: Environment, name: str) -> nodes.Template:
    try:
        assert environment.loader is not None
        source = environment.loader.get_source(environment, name)[0]
    except TemplateNotFound:
        raise ConfigurationError(
            f"There is no template {name!r}, which WEBHOOKS_BASE_TEMPLATE names or extends. Put it into the templates "
            "folder, or correct the name."
        ) from None
    return environment.parse(source, name)


def _calls_super(block: nodes.Block) -> bool:
    return any(
        isinstance(call.node, nodes.Name) and call.node.name == "super"
        for call in block.find_all(nodes.Call)
    )


def _has_surroundings(block: nodes.Block) -> bool:
    text = "".join(data.data for data in block.find_all(nodes.TemplateData))
    inside = (nodes.Block, nodes.Include)
    return bool(_SURROUNDINGS.search(text)) or any(block.find_all(inside)) or _calls_super(block)
