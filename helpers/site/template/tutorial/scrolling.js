// What scrolls sideways can be reached with the keyboard: tables, code and formulas that are wider than the page.
(() => {
  "use strict";
  const seen = new WeakSet();
  const sizes = new ResizeObserver(() => requestAnimationFrame(letScroll));

  function letScroll() {
    for (const element of document.querySelectorAll("main div, main pre, main section, main math")) {
      if (element.closest(".explorer")) continue;
      const canScroll = /auto|scroll/.test(getComputedStyle(element).overflow);
      if (canScroll) watch(element);
      const overflow = element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight;
      const scrolls = overflow && canScroll;
      if (scrolls && !element.hasAttribute("tabindex")) {
        element.tabIndex = 0;
        element.dataset.scrolls = "yes";
      } else if (!scrolls && element.dataset.scrolls) {
        element.removeAttribute("tabindex");
        delete element.dataset.scrolls;
      }
    }
  }

  // A size changes after the window's too: when a sidebar has moved, a font has come, a fold was opened.
  function watch(element) {
    for (const one of [element, ...element.children]) {
      if (!seen.has(one)) sizes.observe(one);
      seen.add(one);
    }
  }

  addEventListener("load", letScroll);
  addEventListener("resize", letScroll);
})();
