const slider = document.querySelector('#epoch');
const epochs = slider.dataset.epochs.split(' ');
const show = () => {
  const epoch = epochs[slider.value];
  document.querySelector('.epochs output').textContent = epoch;
  slider.setAttribute('aria-valuetext', `epoch ${epoch}`);
  for (const image of document.querySelectorAll('[data-epoch]')) image.hidden = image.dataset.epoch !== epoch;
};
slider.addEventListener('input', show);
slider.parentElement.hidden = false;
show();
