// What the theme leaves without a name, or out of reach of the keyboard; some of it is added while the page is read.
const name = () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  // Lists within a list are landmarks to the theme, of which two may have one name, or none.
  document.querySelectorAll(".md-nav .md-nav[aria-labelledby], .md-nav .md-nav:not([aria-label^=Section])").forEach((list, number) => {
    const title = list.getAttribute("aria-label") || list.querySelector(".md-nav__title")?.innerText.trim() || "";
    list.removeAttribute("aria-labelledby");
    list.setAttribute("aria-label", `Section ${number + 1}: ${title}`);
  });
  document.querySelectorAll(".md-code__nav").forEach((bar, number) => bar.setAttribute("aria-label", `Code ${number + 1}`));
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach((wide) => { wide.tabIndex = 0; });
};
document.addEventListener("DOMContentLoaded", () => {
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
});
