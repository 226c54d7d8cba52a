// Sound, and what the page draws of it; comes before listening.js in the same function.

const FADE_SECONDS = 0.005; // at the ends of a loop, as BS.1534 asks
const SWITCH_SECONDS = 0.008;

// Tommy Ettinger's mulberry32: a session's orders follow from its seed.
const generator = state => () => {
  state = (state + 0x6D2B79F5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return (mixed ^ (mixed >>> 14)) >>> 0;
};

const shuffled = (list, random) => {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
};

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

const hex = length => [...crypto.getRandomValues(new Uint8Array(length))]
  .map(byte => byte.toString(16).padStart(2, '0')).join('');

const element = (tag, attributes, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

// Storage is refused in private windows and full ones: the test then goes on in memory.
const storage = {
  read(name) { try { return JSON.parse(localStorage.getItem(name)); } catch { return null; } },
  write(name, value) { try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* in memory only */ } },
  remove(name) { try { localStorage.removeItem(name); } catch { /* in memory only */ } },
};

// Plays several sounds in step, one of them audible: switching keeps the position.
class Player {
  constructor(audio, sampleRate, onChange) {
    this.audio = audio;
    this.sampleRate = sampleRate;
    this.onChange = onChange;
    this.buffers = [];
    this.sources = [];
    this.current = null;
    this.playing = false;
  }

  // Browsers give sound only after a press, so the context is made at the first.
  async load(indices) {
    this.stop();
    this.current = null;
    if (!this.context) {
      const Context = window.AudioContext || window.webkitAudioContext;
      try { this.context = new Context({ sampleRate: this.sampleRate }); } catch { this.context = new Context(); }
    }
    const wanted = [...new Set(indices)];
    const decoded = await Promise.all(wanted.map(i => this.context.decodeAudioData(bytes(this.audio[i]).buffer)));
    this.buffers = indices.map(i => decoded[wanted.indexOf(i)]);
    this.duration = Math.min(...this.buffers.map(buffer => buffer.duration));
    this.select(0, this.duration);
  }

  select(from, to) {
    const again = this.playing;
    this.stop();
    this.from = Math.max(0, Math.min(from, this.duration - 0.2));
    this.to = Math.min(this.duration, Math.max(to, this.from + 0.2));
    this.position = this.from;
    if (again) this.play(this.current);
  }

  play(index) {
    this.context.resume();
    if (this.playing) return this.switchTo(index);
    const rate = this.buffers[0].sampleRate;
    const start = Math.round(this.from * rate), length = Math.round(this.to * rate) - start;
    const offset = this.position - this.from;
    const when = this.context.currentTime + 0.02;
    this.sources = this.buffers.map((buffer, i) => {
      const source = this.context.createBufferSource(), gain = this.context.createGain();
      source.buffer = this.cut(buffer, start, length);
      source.loop = true;
      gain.gain.value = i === index ? 1 : 0;
      source.connect(gain).connect(this.context.destination);
      source.start(when, offset);
      return { source, gain };
    });
    this.begun = when - offset;
    this.playing = true;
    this.current = index;
    this.onChange();
  }

  cut(buffer, start, length) {
    const part = this.context.createBuffer(1, length, buffer.sampleRate), samples = part.getChannelData(0);
    samples.set(buffer.getChannelData(0).subarray(start, start + length));
    const fade = Math.min(Math.round(FADE_SECONDS * buffer.sampleRate), length >> 1);
    for (let i = 0; i < fade; i++) {
      const gain = 0.5 - 0.5 * Math.cos(Math.PI * i / fade);
      samples[i] *= gain;
      samples[length - 1 - i] *= gain;
    }
    return part;
  }

  switchTo(index) {
    const now = this.context.currentTime;
    this.sources.forEach(({ gain }, i) => {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(i === index ? 1 : 0, now + SWITCH_SECONDS);
    });
    this.current = index;
    this.onChange();
  }

  now() {
    if (!this.playing) return this.position;
    const length = this.to - this.from, passed = this.context.currentTime - this.begun;
    return this.from + ((passed % length) + length) % length;
  }

  stop() {
    if (!this.playing) return;
    this.position = this.now();
    const end = this.context.currentTime + SWITCH_SECONDS;
    for (const { source, gain } of this.sources) {
      gain.gain.setValueAtTime(gain.gain.value, this.context.currentTime);
      gain.gain.linearRampToValueAtTime(0, end);
      source.stop(end);
    }
    this.sources = [];
    this.playing = false;
    this.onChange();
  }
}

// The reference's outline, on which a part is chosen that is heard again and again. It is never another sound's: what
// can be seen could be told apart by eye.
class Loop {
  constructor(player) {
    this.player = player;
    this.canvas = element('canvas', { 'aria-hidden': 'true', title: 'Drag to loop a part' });
    const range = (name, label) => element('input', {
      type: 'range', min: 0, max: player.duration.toFixed(2), step: 0.05, 'aria-label': label, class: name,
      oninput: () => this.fromInputs(name),
    });
    this.begin = range('begin', 'Loop from, in seconds');
    this.finish = range('finish', 'Loop to, in seconds');
    this.text = element('span', { class: 'seconds' });
    const whole = element('button', { type: 'button', onclick: () => this.choose(0, player.duration) }, 'Whole');
    this.node = element('div', { class: 'loop' }, this.canvas,
      element('div', { class: 'bounds' }, element('label', {}, 'Loop from ', this.begin),
        element('label', {}, ' to ', this.finish), this.text, whole));
    this.canvas.addEventListener('pointerdown', event => this.drag(event));
    this.peaks = this.outline(player.buffers[0]);
    this.choose(0, player.duration);
  }

  outline(buffer) {
    const samples = buffer.getChannelData(0), count = 400, step = samples.length / count;
    const peaks = Array.from({ length: count }, (_, i) => {
      let peak = 0;
      for (let j = Math.floor(i * step); j < (i + 1) * step; j++) peak = Math.max(peak, Math.abs(samples[j] || 0));
      return peak;
    });
    const most = Math.max(...peaks, 1e-6);
    return peaks.map(peak => peak / most);
  }

  seconds(event) {
    const box = this.canvas.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * this.player.duration;
  }

  drag(event) {
    const start = this.seconds(event);
    this.canvas.setPointerCapture(event.pointerId);
    const move = moved => {
      this.marked = [start, this.seconds(moved)].sort((one, other) => one - other);
      this.draw();
    };
    const end = ended => {
      this.marked = null;
      this.canvas.removeEventListener('pointermove', move);
      this.canvas.removeEventListener('pointerup', end);
      this.canvas.removeEventListener('pointercancel', end);
      const stop = this.seconds(ended);
      if (Math.abs(stop - start) > 0.15) this.choose(Math.min(start, stop), Math.max(start, stop));
      else this.draw();
    };
    this.canvas.addEventListener('pointermove', move);
    this.canvas.addEventListener('pointerup', end);
    this.canvas.addEventListener('pointercancel', end);
  }

  fromInputs(moved) {
    let from = Number(this.begin.value), to = Number(this.finish.value);
    if (to - from < 0.2) {
      if (moved === 'begin') from = Math.max(0, to - 0.2); else to = from + 0.2;
    }
    this.choose(from, to);
  }

  choose(from, to) {
    this.player.select(from, to);
    this.begin.value = this.player.from;
    this.finish.value = this.player.to;
    this.text.textContent = `${this.player.from.toFixed(1)} to ${this.player.to.toFixed(1)} s`;
    this.draw();
  }

  draw() {
    const { canvas, player, peaks } = this, context = canvas.getContext('2d');
    const width = canvas.width = Math.max(canvas.clientWidth, 1) * (window.devicePixelRatio || 1);
    const height = canvas.height = Math.max(canvas.clientHeight, 1) * (window.devicePixelRatio || 1);
    const style = getComputedStyle(canvas), bar = width / peaks.length;
    const x = seconds => seconds / player.duration * width;
    const [from, to] = this.marked || [player.from, player.to]; // marked: while it is dragged
    context.fillStyle = style.backgroundColor;
    context.fillRect(0, 0, width, height);
    peaks.forEach((peak, i) => {
      const inside = (i + 1) * bar > x(from) && i * bar < x(to);
      context.globalAlpha = inside ? 0.85 : 0.25;
      context.fillStyle = style.color;
      const tall = Math.max(peak * height * 0.9, 1);
      context.fillRect(i * bar, (height - tall) / 2, Math.max(bar * 0.7, 1), tall);
    });
    context.globalAlpha = 1;
    context.fillStyle = style.borderTopColor;
    context.fillRect(x(player.now()) - 1, 0, 3, height);
  }
}
