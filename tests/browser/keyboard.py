"""The pages by the keyboard alone, as somebody without a mouse finds their way."""

from __future__ import annotations

from playwright.sync_api import Page, expect

#: Stops of the Tab key on one page.
MANY = 200


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this text, label or id has the focus."""
    for _ in range(MANY):
        page.keyboard.press("Tab")
        names = page.evaluate(
            """() => {
                const item = document.activeElement;
                const texts = [...(item.labels ?? [])].map((label) => label.firstChild.textContent);
                return [item.id, item.textContent, ...texts].map((text) => text.trim());
            }"""
        )
        if name in names:
            return
    raise AssertionError(f"{page.url}: the Tab key does not reach {name!r}")


def press(page: Page, name: str) -> None:
    """Press what opens a dialog, with the keyboard alone."""
    tab_to(page, name)
    page.keyboard.press("Enter")


def go(page: Page, name: str) -> None:
    """Press a button or follow a link with the keyboard alone."""
    tab_to(page, name)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def copy_secret(page: Page) -> str:
    """Copy the secret that the page shows, with the keyboard alone; returns it."""
    secret = page.inner_text("#wh-secret")
    press(page, "Copy")
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == secret
    return secret
