// Code and tables that are wider than their boxes can be scrolled with the keyboard, too.

const BOXES = ".md-typeset pre > code, .md-typeset__scrollwrap";

function makeFocusable() {
  for (const box of document.querySelectorAll(BOXES)) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
    } else {
      box.removeAttribute("tabindex");
    }
  }
}

addEventListener("load", makeFocusable);
addEventListener("resize", makeFocusable);
