// Record or choose, predict, compare, download, refresh.
import * as api from './api.js';
import { Live } from './live.js';
import { decibels, peak } from './microphone.js';
import { Player } from './player.js';
import { across, draw, drawScale, shareAt } from './plot.js';
import { Problem, sentence } from './problem.js';
import { Recorder } from './recorder.js';
import { picture } from './spectrogram.js';
import { wav } from './wav.js';

const RATE = 48000; // of playing and drawing: spectrograms reach 24 kHz
const SEEK_SECONDS = 1;
const SIDES = ['original', 'enhanced'];

const facts = JSON.parse(document.body.dataset.facts);
const element = (id) => document.getElementById(id);
const context = new AudioContext({ sampleRate: RATE });
const player = new Player(context, showPlayer);
const live = new Live();

let recorder = null;
let asking = false; // for the microphone
let chosen = null; // { blob, name }
let drawn = {};
let working = new AbortController();
let downloadAddress = '';
let frame = 0;

// Sources

async function toggleRecording() {
  if (recorder) {
    await finishRecording('');
    return;
  }
  if (asking) return; // not by disabling the button, which would lose the focus
  live.stop('');
  player.pause();
  attempt(async () => {
    asking = true;
    try {
      recorder = await Recorder.start(facts.limits.upload_seconds, heard, () => finishRecording('That is the longest recording. '));
    } finally {
      asking = false;
    }
    showRecorder();
    say('Recording. Press Stop when you have finished.');
  });
}

function heard(block, seconds) {
  element('level').value = decibels(block);
  element('clipping').hidden = peak(block) < 0.99 && element('clipping').hidden;
  element('clock').textContent = clock(seconds);
}

async function finishRecording(note) {
  const finished = recorder;
  recorder = null;
  showRecorder();
  const blob = finished.stop();
  if (!finished.blocks.length) {
    complain(new Problem('Nothing was recorded yet. Press Record, speak, then press Stop.'));
    return;
  }
  const stamp = new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-');
  await choose(blob, `recording-${stamp}.wav`, { note, recorded: true });
}

function showRecorder() {
  element('record').classList.toggle('running', Boolean(recorder));
  element('record-label').textContent = recorder ? 'Stop' : 'Record';
  element('predict').disabled = !chosen || Boolean(recorder);
  element('file').disabled = element('sample').disabled = Boolean(recorder);
  if (recorder) {
    element('clock').textContent = clock(0);
    element('clipping').hidden = true;
  } else {
    element('level').value = -60;
  }
}

function choose(blob, name, { note = '', recorded = false } = {}) {
  working.abort(); // of an earlier choice
  working = new AbortController();
  return attempt(async (signal) => {
    forget();
    say(`${note}Reading ${name} …`);
    const { buffer, sent, loss } = await (recorded ? ownRecording(blob) : opened(blob, name, signal));
    signal.throwIfAborted();
    chosen = { blob: sent, name };
    await show('original', buffer, signal);
    element('predict').disabled = false;
    element('name').textContent = name;
    say(`${note}${name}, ${seconds(buffer.duration)}.${loss ? ` It ${loss}.` : ''} Enhance adds what is missing.`);
  });
}

// Read by the browser, so that it is there whatever becomes of the server.
async function ownRecording(blob) {
  return { buffer: await read(blob), sent: blob };
}

// A file is read by the server: what it refuses is refused before anything is drawn, what it rescues is seen, and both
// sides of the comparison begin together. What only the browser can read, such as WebM, is sent as WAV.
async function opened(blob, name, signal) {
  try {
    return await decoded(blob, name, signal);
  } catch (problem) {
    if (problem.status !== 415) throw problem;
    const buffer = await read(blob);
    if (!buffer) throw new Problem(`${name} is not audio that the server or this browser can read. Save it as WAV, FLAC or MP3.`);
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, one) => buffer.getChannelData(one));
    return decoded(wav(channels, buffer.sampleRate), name, signal);
  }
}

async function decoded(sent, name, signal) {
  if (sent.size > facts.limits.upload_bytes) throw new Problem(facts.limits.too_large); // the server would hang up
  const { blob, loss } = await api.decode(sent, signal);
  const buffer = await read(blob);
  if (!buffer) throw new Problem(`The browser cannot play ${name}. Save it as WAV and try again.`);
  return { buffer, sent, loss };
}

async function read(blob) {
  try {
    return await context.decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null;
  }
}

// Enhancing

async function trySample() {
  await attempt(async () => {
    await choose(await api.sample(), 'sample.flac');
  });
}

function predict() {
  const byKeyboard = document.activeElement === element('predict');
  return attempt(async (signal) => {
    element('predict').disabled = true;
    element('progress').hidden = false;
    say(`Enhancing ${chosen.name} …`);
    try {
      const done = await api.enhance(chosen.blob, chosen.name, element('denoise').checked, signal);
      const buffer = await read(done.blob);
      if (!buffer) throw new Problem('The browser cannot play the answer. Try another browser.');
      await show('enhanced', buffer, signal);
      player.level('original', done.gain);
      document.querySelector('[value=enhanced]').disabled = false;
      hear('enhanced');
      showFigures(done);
      offer(done.blob);
      say(`Enhanced ${seconds(done.audioSeconds)} of audio in ${seconds(done.processingSeconds)}. Play, and switch between both.${done.loss ? ` The recording ${done.loss}.` : ''}`);
      toPlayer(byKeyboard);
    } finally {
      element('progress').hidden = true;
      element('predict').disabled = !chosen;
    }
  });
}

// On a telephone the player is below the screen; the hand on the keyboard goes on with Space, which then plays.
function toPlayer(focus) {
  if (focus) element('play').focus({ preventScroll: true });
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  const { top, bottom } = element('comparison').querySelector('.transport').getBoundingClientRect();
  if (top < 0 || bottom > window.innerHeight) {
    element('comparison').scrollIntoView({ block: 'start', behavior: calm ? 'auto' : 'smooth' });
  }
}

function showFigures(done) {
  element('audio-seconds').textContent = seconds(done.audioSeconds);
  element('processing-seconds').textContent = seconds(done.processingSeconds);
  element('factor').textContent = `${(done.audioSeconds / done.processingSeconds).toPrecision(2)} × real time`;
  element('figures').hidden = false;
}

function offer(blob) {
  URL.revokeObjectURL(downloadAddress);
  downloadAddress = URL.createObjectURL(blob);
  const link = element('download');
  link.href = downloadAddress;
  link.download = `${chosen.name.replace(/\.[^.]*$/, '')}-enhanced.wav`;
  link.hidden = false;
}

// Pictures and player

async function show(side, buffer, signal) {
  const found = await picture(mixed(buffer));
  signal.throwIfAborted();
  drawn[side] = { ...found, duration: buffer.duration };
  player.set(side, buffer);
  element('comparison').hidden = false;
  pictureOf(side).hidden = false;
  redraw();
}

function mixed(buffer) {
  const mean = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    const samples = buffer.getChannelData(channel);
    for (let index = 0; index < mean.length; index += 1) mean[index] += samples[index] / buffer.numberOfChannels;
  }
  return mean;
}

function redraw() {
  const loudest = Math.max(-60, ...Object.values(drawn).map((one) => one.loudest));
  for (const [side, one] of Object.entries(drawn)) {
    const canvas = pictureOf(side).querySelector('canvas');
    draw(canvas, one, player.duration, loudest, side === 'enhanced' ? '--accent' : '--original');
    canvas.setAttribute('aria-label', `Waveform and spectrogram, ${side}, ${seconds(one.duration)}, 0 to 24 kHz`);
  }
  showPlayer();
}

function showPlayer() {
  const position = player.position();
  element('play').textContent = player.playing ? 'Pause' : 'Play';
  element('seek').max = player.duration || 1;
  element('seek').value = position;
  element('seek').setAttribute('aria-valuetext', `${position.toFixed(1)} of ${player.duration.toFixed(1)} seconds`);
  element('position').textContent = `${clock(position)} / ${clock(player.duration)}`;
  for (const side of SIDES) {
    const plot = pictureOf(side);
    plot.classList.toggle('heard', player.heard === side && Boolean(drawn.enhanced));
    const x = across(plot.querySelector('canvas'), player.duration ? position / player.duration : 0);
    plot.querySelector('.cursor').style.transform = `translateX(${x}px)`;
  }
  cancelAnimationFrame(frame);
  if (player.playing) frame = requestAnimationFrame(showPlayer);
}

function hear(side) {
  if (side === 'enhanced' && !drawn.enhanced) return;
  document.querySelector(`[name=heard][value=${side}]`).checked = true;
  player.switchTo(side);
}

function pictureOf(side) {
  return document.querySelector(`.picture[data-side=${side}]`);
}

// Words, keys, beginning anew

async function attempt(work) {
  element('problem').hidden = true;
  const { signal } = working;
  try {
    await work(signal);
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

function complain(error) {
  say('');
  element('problem').textContent = sentence(error);
  element('problem').hidden = false;
}

function say(text) {
  element('status').textContent = text;
}

function forget() {
  chosen = null;
  drawn = {};
  player.clear();
  URL.revokeObjectURL(downloadAddress);
  for (const id of ['comparison', 'figures', 'download', 'problem', 'progress']) element(id).hidden = true;
  pictureOf('enhanced').hidden = true;
  document.querySelector('[value=enhanced]').disabled = true;
  document.querySelector('[name=heard][value=original]').checked = true;
  element('predict').disabled = true;
}

function refresh() {
  working.abort();
  working = new AbortController();
  if (recorder) {
    recorder.stop();
    recorder = null;
  }
  forget();
  showRecorder();
  element('clock').textContent = clock(0);
  element('clipping').hidden = true;
  say('Record something, or choose a file.');
  element('record').focus();
}

function clock(time) {
  return `${Math.floor(time / 60)}:${(time % 60).toFixed(1).padStart(4, '0')}`;
}

function seconds(time) {
  return time < 0.0995 ? `${Math.max(1, Math.round(1000 * time))} ms` : `${time.toFixed(time < 10 ? 2 : 1)} s`;
}

function pressed(event) {
  if (element('panel-clip').hidden || element('comparison').hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const pressable = event.target.closest('button, a, [type=checkbox], [type=file]');
  const key = event.key.toLowerCase();
  if (key === 'a') hear('original');
  else if (key === 'b') hear('enhanced');
  else if (key === ' ' && !pressable) toggle();
  else if (event.target.closest('[role=tab]')) return; // whose arrows change the tab
  else if (key === 'arrowright') player.seek(player.position() + SEEK_SECONDS);
  else if (key === 'arrowleft') player.seek(player.position() - SEEK_SECONDS);
  else return;
  event.preventDefault();
}

function toggle() {
  if (player.playing) player.pause();
  else player.play();
}

function openTab(name, focus) {
  for (const one of ['clip', 'live']) {
    const tab = element(`tab-${one}`);
    tab.setAttribute('aria-selected', one === name);
    tab.tabIndex = one === name ? 0 : -1;
    element(`panel-${one}`).hidden = one !== name;
  }
  if (focus) element(`tab-${name}`).focus();
  if (name === 'live') {
    player.pause();
    live.drawSpectrum();
  } else {
    live.stop('');
    redraw();
  }
}

function listen() {
  element('record').addEventListener('click', toggleRecording);
  element('predict').addEventListener('click', predict);
  element('sample').addEventListener('click', trySample);
  element('refresh').addEventListener('click', refresh);
  element('play').addEventListener('click', toggle);
  element('seek').addEventListener('input', (event) => player.seek(Number(event.target.value)));
  element('file').addEventListener('change', (event) => {
    const [file] = event.target.files;
    if (file) choose(file, file.name);
    event.target.value = ''; // so that the same file can be chosen again
  });
  document.querySelectorAll('[name=heard]').forEach((choice) => choice.addEventListener('change', () => hear(choice.value)));
  document.querySelectorAll('.picture canvas').forEach((canvas) => {
    canvas.addEventListener('click', (event) => player.seek(player.duration * shareAt(canvas, event.offsetX)));
  });
  for (const name of ['clip', 'live']) {
    element(`tab-${name}`).addEventListener('click', () => openTab(name));
    element(`tab-${name}`).addEventListener('keydown', (event) => {
      if (['ArrowLeft', 'ArrowRight'].includes(event.key)) openTab(name === 'clip' ? 'live' : 'clip', true);
    });
  }
  document.addEventListener('keydown', pressed);
  listenToDrops();
  window.addEventListener('resize', () => (element('panel-live').hidden ? redraw() : live.drawSpectrum()));
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
}

function listenToDrops() {
  const over = (state) => element('drop').classList.toggle('over', state);
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener('dragleave', () => over(false));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    over(false);
    const [file] = event.dataTransfer.files;
    if (file && !recorder) {
      openTab('clip');
      choose(file, file.name);
    }
  });
}

drawScale(element('scale'));
listen();
