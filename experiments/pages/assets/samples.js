for (const sample of document.querySelectorAll('.sample')) {
  const figures = [...sample.querySelectorAll('figure')];
  const buttons = [...sample.querySelectorAll('.switch button')];
  const players = figures.map(figure => figure.querySelector('audio'));
  const heads = figures.map(figure => figure.querySelector('.playhead'));
  let current = 0;
  const align = time => players.forEach(player => {
    if (Math.abs(player.currentTime - time) > 0.02) player.currentTime = time;
  });
  const draw = () => {
    const player = players[current], playing = !player.paused;
    heads.forEach(head => {
      head.style.visibility = playing || player.currentTime > 0 ? 'visible' : 'hidden';
      head.style.left = 100 * player.currentTime / (player.duration || 1) + '%';
    });
    figures.forEach((figure, i) => figure.classList.toggle('playing', playing && i === current));
    buttons.forEach((button, i) => {
      button.classList.toggle('playing', playing && i === current);
      button.setAttribute('aria-pressed', playing && i === current);
    });
    if (playing) requestAnimationFrame(draw);
  };
  const press = index => {
    const playing = !players[current].paused;
    if (playing && index === current) players[current].pause(); else players[index].play();
  };
  players.forEach((player, index) => {
    player.addEventListener('play', () => {
      const time = players[current].currentTime;
      if (index !== current) { player.currentTime = time; current = index; }
      document.querySelectorAll('audio').forEach(other => { if (other !== player) other.pause(); });
      draw();
    });
    player.addEventListener('pause', () => { if (index === current) { align(player.currentTime); draw(); } });
    player.addEventListener('ended', () => { if (index === current) { align(0); draw(); } });
    player.addEventListener('seeked', () => {
      if (players[current].paused) { align(player.currentTime); draw(); }
    });
    figures[index].querySelector('.picture').addEventListener('click', event => {
      const box = event.currentTarget.getBoundingClientRect();
      const time = (event.clientX - box.left) / box.width * (player.duration || 0);
      players[current].currentTime = player.currentTime = time;
      player.play();
    });
    buttons[index].addEventListener('click', () => press(index));
  });
}
