"""The console as it looks and feels: contrast, names, themes, phones, and the keyboard alone."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

LUMINANCE = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
  const mix = (top, under, a) => top * a + under * (1 - a);
  const over = (top, under) => ({ a: 1, r: mix(top.r, under.r, top.a), g: mix(top.g, under.g, top.a),
    b: mix(top.b, under.b, top.a) });
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ({r, g, b}) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const white = {r: 255, g: 255, b: 255};
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.a > 0) return over(colour, white);
    }
    return white;
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest(":disabled, option, .hidden, .skip, .phases")) continue;
    const back = behind(node), front = over(parse(getComputedStyle(node).color), back);
    const [high, low] = [light(front), light(back)].sort((one, other) => other - one);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.push([node.tagName, node.className, node.textContent.slice(0, 30), ratio.toFixed(2)]);
  }
  return faint;
}"""
"""Text with less contrast than WCAG AA asks for."""
UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, a, [tabindex='0']")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.getAttribute("aria-label") || node.getAttribute("aria-labelledby") || node.textContent.trim()
    || node.labels?.length || node.title)).map((node) => node.outerHTML.slice(0, 80))"""
"""What can be focused and has no name."""
WIDE = """() => [document.documentElement.scrollWidth, [...document.querySelectorAll("body *")]
  .filter((node) => node.checkVisibility() && !node.closest(".tall"))
  .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
  .map((node) => `${node.tagName}#${node.id}.${node.className}`)]"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_controls_have_names(open_console: Callable[..., Page], scheme: str) -> None:
    page = open_console(color_scheme=scheme)
    page.locator("#prompt-text").press("Control+Enter")
    expect(page.locator("#timings")).to_contain_text("tokens55")
    expect(page.locator("#requests tbody tr").first).to_be_visible()

    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
    assert page.evaluate(LUMINANCE) == []
    assert page.evaluate(UNNAMED) == []


def test_the_theme_can_be_chosen_and_is_kept(open_console: Callable[..., Page]) -> None:
    page = open_console(color_scheme="light")
    for expected in ("light", "dark"):
        page.keyboard.press("t")
        expect(page.locator("#theme-button")).to_have_text(f"Theme: {expected}")
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_a_phone_scrolls_in_one_direction(open_console: Callable[..., Page]) -> None:
    page = open_console(viewport={"width": 390, "height": 844})
    page.locator("#prompt-text").press("Control+Enter")
    expect(page.locator("#timings")).to_contain_text("tokens55")
    page.get_by_role("radio", name="Latest").click()
    page.locator("#requests tbody button").first.click()
    expect(page.locator("#waterfall .span").first).to_be_visible()

    assert page.evaluate(WIDE) == [390, []]


def test_all_of_it_can_be_done_with_the_keyboard(open_console: Callable[..., Page]) -> None:
    page = open_console()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_contain_text("Ctrl+Enter sends it")
    page.keyboard.press("Escape")
    expect(page.locator("#help-dialog")).to_be_hidden()

    page.keyboard.press("p")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#timings")).to_contain_text("tokens55")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.keyboard.press("Tab")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Latest")).to_be_focused()
    expect(page.locator("#requests tbody tr").first).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#waterfall .span").first).to_be_visible()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"

    page.keyboard.press("k")
    expect(page.locator("#key-input")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#key-dialog")).to_be_hidden()
