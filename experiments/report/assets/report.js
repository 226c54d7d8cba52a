// Links that work wherever the page is shown. In a frame such as MLflow's, whose address is no file's, the browser follows
// neither a link to a section nor one to a page beside this one.
const alone = /^(file|https?):$/.test(location.protocol);
for (const link of document.querySelectorAll('nav a')) {
  link.addEventListener('click', event => {
    const section = document.getElementById(link.getAttribute('href').slice(1));
    if (alone || !section) return;
    event.preventDefault();
    section.scrollIntoView();
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
  });
}
for (const link of alone ? [] : document.querySelectorAll('a.link')) {
  const words = document.createElement('span');
  words.className = 'link';
  words.textContent = `${link.textContent}: choose ${link.getAttribute('href')} in the list of files beside this page.`;
  link.replaceWith(words);
}

// What is folded up is opened for the printer, and folded up again.
let folded = [];
addEventListener('beforeprint', () => {
  folded = [...document.querySelectorAll('details:not([open])')];
  folded.forEach(one => { one.open = true; });
});
addEventListener('afterprint', () => folded.forEach(one => { one.open = false; }));
