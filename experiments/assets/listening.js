(() => {
'use strict';

const LABELS = ['Bad', 'Poor', 'Fair', 'Good', 'Excellent'];
const FADE_SECONDS = 0.005; // at the ends of a loop, as BS.1534 asks
const SWITCH_SECONDS = 0.008;

// The same generator as in experiments/listening_page.py.
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

const unscrambled = (text, key) => {
  const random = generator(key);
  return JSON.parse(new TextDecoder().decode(bytes(text).map(byte => byte ^ (random() & 255))));
};

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

// P(at least `correct` of `trials`) when guessing.
const binomialTail = (correct, trials) => {
  let term = Math.pow(0.5, trials), sum = 0;
  for (let k = 0; k <= trials; k++) {
    if (k >= correct) sum += term;
    term *= (trials - k) / (k + 1);
  }
  return Math.min(sum, 1);
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
  constructor(player, reference) {
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
    this.peaks = this.outline(player.buffers[reference]);
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
    const end = ended => {
      this.canvas.removeEventListener('pointerup', end);
      this.canvas.removeEventListener('pointercancel', end);
      const stop = this.seconds(ended);
      if (Math.abs(stop - start) > 0.15) this.choose(Math.min(start, stop), Math.max(start, stop));
    };
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
    context.fillStyle = style.backgroundColor;
    context.fillRect(0, 0, width, height);
    peaks.forEach((peak, i) => {
      const inside = (i + 1) * bar > x(player.from) && i * bar < x(player.to);
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

class Test {
  constructor(root) {
    this.stage = root.querySelector('.stage');
    this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    this.plan = unscrambled(this.data.plan, this.data.key);
    this.storeName = `overtone-listening-${this.data.test}`;
    this.player = new Player(this.data.audio, this.data.sample_rate, () => this.refresh());
    document.addEventListener('keydown', event => this.pressed(event));
    window.addEventListener('resize', () => this.loop && this.loop.draw());
    this.welcome();
  }

  show(...children) {
    this.player.stop();
    this.buttons = [];
    this.loop = null;
    this.stage.replaceChildren(...children);
    const heading = this.stage.querySelector('h2');
    if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
    this.stage.scrollIntoView({ block: 'start' });
  }

  // ---- beginning

  welcome() {
    const saved = storage.read(this.storeName), abx = this.plan.abx;
    const name = element('input', { type: 'text', maxlength: 60, autocomplete: 'off', class: 'name' });
    const begin = method => () => this.begin(method, name.value);
    const choices = [
      element('button', { type: 'button', class: 'main rate', onclick: begin('mushra') },
        `Rate ${this.plan.trials.length} ${this.plan.trials.length === 1 ? 'recording' : 'recordings'}`),
    ];
    if (abx) choices.push(element('button', { type: 'button', class: 'tell', onclick: begin('abx') },
      `Tell two apart (A/B/X, ${abx.trials} times)`));
    if (saved && saved.session && !saved.finished) choices.unshift(element('button', {
      type: 'button', class: 'main resume', onclick: () => this.resume(saved),
    }, `Continue where you stopped (${saved.trials.length} done)`));
    const points = [
      'Use headphones, in a quiet room. On a phone, switch off silent mode.',
      'Set the volume when you hear the first sounds, and leave it there afterwards.',
      'All sounds of a recording are equally loud. Who made which is not told, and the order is another for everybody.',
      'Nothing is sent anywhere: at the end you save a file with your votes and hand it in.',
    ];
    this.show(
      element('h2', {}, 'Before you begin'),
      element('ul', {}, ...points.map(point => element('li', {}, point))),
      element('label', { class: 'field' }, 'Your name, if you want to give one ', name),
      element('div', { class: 'actions' }, ...choices),
    );
  }

  begin(method, name) {
    const given = /(?:^#|&)seed=(\d{1,10})(?:&|$)/.exec(location.hash);
    const listener = storage.read('overtone-listener') || hex(8);
    storage.write('overtone-listener', listener);
    this.state = {
      session: hex(8), listener, name: name.replace(/\p{C}/gu, ' ').trim().slice(0, 60), method,
      seed: given ? Number(given[1]) >>> 0 : crypto.getRandomValues(new Uint32Array(1))[0],
      started: new Date().toISOString(), finished: null, trained: false, trials: [], comment: '',
    };
    this.draw();
    this.next();
  }

  resume(saved) {
    this.state = saved;
    this.draw();
    this.next();
  }

  // Everything random about a session follows from its seed.
  draw() {
    const random = generator(this.state.seed), { trials, abx } = this.plan;
    if (this.state.method === 'mushra') {
      this.order = shuffled(trials.map((_, i) => i), random);
      this.orders = trials.map(trial => shuffled(Object.keys(trial.sounds).sort(), random));
      this.exercise = this.order[random() % trials.length];
      return;
    }
    let items = [];
    while (items.length < abx.trials) items = items.concat(shuffled(trials.map((_, i) => i), random));
    this.abx = items.slice(0, abx.trials).map(item => {
      const [a, b] = random() >>> 31 ? abx.systems : [...abx.systems].reverse();
      return { item, a, b, x: random() >>> 31 ? 'a' : 'b' };
    });
  }

  async next() {
    const { state } = this, total = state.method === 'mushra' ? this.order.length : this.abx.length;
    storage.write(this.storeName, state);
    if (state.finished || state.trials.length >= total) return this.end();
    if (state.method === 'abx') await this.compare(state.trials.length, total);
    else await this.rate(state.trained ? state.trials.length : -1, total);
  }

  async loaded(indices) {
    try {
      await this.player.load(indices);
      return true;
    } catch (error) {
      this.show(element('h2', {}, 'This browser cannot play the sounds'),
        element('p', {}, `${error.message || error}. Try a current Firefox, Chrome or Safari.`));
      return false;
    }
  }

  // ---- rating

  async rate(number, total) {
    const training = number < 0, item = training ? this.exercise : this.order[number];
    const order = training ? [...this.orders[item]].reverse() : this.orders[item];
    const { sounds } = this.plan.trials[item];
    if (!await this.loaded([sounds[this.plan.reference], ...order.map(system => sounds[system])])) return;
    this.trial = { begun: performance.now(), heard: new Set(), ratings: order.map(() => null), plays: order.map(() => 0) };
    const sliders = order.map((_, i) => this.slider(i));
    const done = element('button', { type: 'button', class: 'main next', disabled: true, onclick: () => {
      if (!training) this.state.trials.push(this.rated(item, order));
      this.state.trained = true;
      this.next();
    } }, training ? 'Begin the test' : number + 1 === total ? 'Finish' : 'Next');
    const missing = element('span', { class: 'missing', role: 'status' });
    this.advance = () => {
      const heard = this.trial.heard.has(0) && order.every((_, i) => this.trial.heard.has(i + 1));
      const left = this.trial.ratings.filter(rating => rating === null).length;
      done.disabled = !training && (!heard || left > 0);
      missing.textContent = training || !done.disabled ? ''
        : !this.trial.heard.has(0) ? 'Listen to the reference as well.'
          : !heard ? 'Listen to each sound first.' : `${left} still to rate.`;
    };
    this.show(
      this.heading(training ? 'Exercise' : `Recording ${number + 1} of ${total}`, training ? 0 : number, total),
      element('p', {}, training
        ? 'Set your volume now. Then try: which of the sounds come close to the reference? This one does not count.'
        : 'How good is each sound, compared with the reference? One of them is the reference itself: it should get 100.'),
      this.transport('Reference'), this.loopPlace(),
      element('div', { class: 'scale', 'aria-hidden': 'true' }, element('span'), element('div', {},
        ...LABELS.map(label => element('span', {}, label))), element('span')),
      element('div', { class: 'rows' }, ...sliders),
      element('div', { class: 'actions' }, done, missing, this.stopButton(training)),
      element('p', { class: 'hint keys' }, `Keys: R reference, 1 to ${Math.min(order.length, 9)} sounds, space play or `
        + 'stop, arrows, Page up and down move the slider.'),
    );
    this.afterShow();
  }

  slider(i) {
    const value = element('output', { class: 'value' }, '–');
    const range = element('input', {
      type: 'range', min: 0, max: 100, step: 1, value: 50, class: 'unset', 'aria-label': `Rating of sound ${i + 1}`,
      'aria-valuetext': 'not rated',
    });
    const set = () => {
      const rating = Number(range.value);
      this.trial.ratings[i] = rating;
      range.classList.remove('unset');
      value.textContent = rating;
      range.setAttribute('aria-valuetext', `${rating}, ${LABELS[Math.min(Math.floor(rating / 20), 4)]}`);
      this.advance();
    };
    for (const kind of ['input', 'change', 'pointerup']) range.addEventListener(kind, set);
    const button = this.soundButton(i + 1, String(i + 1), `Play sound ${i + 1}`);
    button.slider = range;
    return element('div', { class: 'row' }, button, element('div', { class: 'track' }, range), value);
  }

  rated(item, order) {
    const { title, file, condition } = this.plan.trials[item];
    const named = values => Object.fromEntries(order.map((system, i) => [system, values[i]]));
    return { title, file, condition, order, ratings: named(this.trial.ratings), plays: named(this.trial.plays),
      seconds: this.seconds() };
  }

  seconds() { return Math.round((performance.now() - this.trial.begun) / 100) / 10; }

  // ---- A/B/X

  async compare(number, total) {
    const { item, a, b, x } = this.abx[number], { sounds, title, file, condition } = this.plan.trials[item];
    if (!await this.loaded([sounds[a], sounds[b], sounds[x === 'a' ? a : b], sounds[this.plan.reference]])) return;
    this.trial = { begun: performance.now(), heard: new Set(), plays: [0, 0] };
    const choices = { answer: null, preference: null };
    const done = element('button', { type: 'button', class: 'main next', disabled: true, onclick: () => {
      this.state.trials.push({ title, file, condition, a, b, x, ...choices, seconds: this.seconds() });
      this.next();
    } }, number + 1 === total ? 'Finish' : 'Next');
    const missing = element('span', { class: 'missing', role: 'status' });
    this.advance = () => {
      const heard = [0, 1, 2].every(i => this.trial.heard.has(i));
      done.disabled = !heard || choices.answer === null || choices.preference === null;
      missing.textContent = heard ? '' : 'Listen to A, B and X first.';
    };
    const question = (key, words, options) => element('fieldset', { class: key }, element('legend', {}, words),
      ...options.map(([value, label]) => element('label', {}, element('input', {
        type: 'radio', name: `${this.data.test}-${key}`, value, onchange: () => { choices[key] = value; this.advance(); },
      }), element('span', {}, label))));
    this.show(
      this.heading(`Comparison ${number + 1} of ${total}`, number, total),
      element('p', {}, 'X is either A or B. If you hear no difference, guess.'),
      this.transport('A', 'B', 'X'), this.loopPlace(),
      question('answer', 'X is', [['a', 'A'], ['b', 'B']]),
      question('preference', 'Which sounds better?', [['a', 'A'], ['b', 'B'], ['none', 'Neither']]),
      element('div', { class: 'actions' }, done, missing, this.stopButton(false)),
      element('p', { class: 'hint keys' }, 'Keys: A, B, X, space play or stop.'),
    );
    this.afterShow();
  }

  // ---- what both have

  heading(words, done, total) {
    return element('div', { class: 'head' }, element('h2', {}, words),
      element('progress', { max: total, value: done, 'aria-label': 'How much is done' }));
  }

  transport(...names) {
    this.toggle = element('button', { type: 'button', class: 'toggle', onclick: () => this.playOrStop() }, 'Play');
    return element('div', { class: 'transport' }, this.toggle,
      ...names.map((name, i) => this.soundButton(i, name, `Play ${name}`)));
  }

  soundButton(index, name, label) {
    const button = element('button', {
      type: 'button', class: 'sound', 'aria-label': label, 'aria-pressed': 'false', onclick: () => this.hear(index),
    }, name);
    this.pending = this.pending || [];
    this.pending[index] = button;
    return button;
  }

  loopPlace() { return (this.loopSlot = element('div')); }

  afterShow() {
    this.buttons = this.pending;
    this.pending = [];
    this.loop = new Loop(this.player, this.state.method === 'abx' ? 3 : 0);
    this.loopSlot.replaceWith(this.loop.node);
    this.loop.draw();
    this.refresh();
    this.advance();
  }

  stopButton(training) {
    return training ? '' : element('button', { type: 'button', class: 'quiet', onclick: () => {
      if (this.state.trials.length === 0) return this.welcome();
      if (confirm('End the test here? What you have rated so far is kept.')) this.end();
    } }, 'Stop here');
  }

  hear(index) {
    this.trial.heard.add(index);
    const counted = this.trial.plays.length === 2 ? index : index - 1;
    if (counted in this.trial.plays) this.trial.plays[counted] += 1;
    this.player.play(index);
    if (this.advance) this.advance();
  }

  playOrStop() {
    if (this.player.playing) this.player.stop(); else this.hear(this.player.current ?? 0);
  }

  pressed(event) {
    const { target } = event;
    if (!this.buttons || !this.buttons.length || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches('textarea, input[type=text]')) return;
    if (event.key === ' ') {
      if (target.matches('button, input[type=radio]')) return;
      event.preventDefault();
      return this.playOrStop();
    }
    const letters = this.state.method === 'abx' ? 'abx' : 'r123456789';
    const index = letters.indexOf(event.key.toLowerCase());
    const button = index < 0 || event.key.length > 1 ? null : this.buttons[index];
    if (!button) return;
    event.preventDefault();
    this.hear(index);
    (button.slider || button).focus();
  }

  refresh() {
    const { player } = this;
    (this.buttons || []).forEach((button, i) => {
      const on = player.playing && player.current === i;
      button.classList.toggle('playing', on);
      button.setAttribute('aria-pressed', String(on));
      if (button.slider) button.closest('.row').classList.toggle('playing', on);
    });
    if (this.toggle) this.toggle.textContent = player.playing ? 'Stop' : 'Play';
    if (this.loop) this.loop.draw();
    if (player.playing && !this.drawing) {
      this.drawing = true;
      requestAnimationFrame(() => { this.drawing = false; if (player.playing) this.tick(); });
    }
  }

  tick() {
    if (this.loop) this.loop.draw();
    if (this.player.playing) requestAnimationFrame(() => this.tick());
  }

  // ---- end

  end() {
    const { state } = this, total = state.method === 'mushra' ? this.order.length : this.abx.length;
    state.finished = state.finished || new Date().toISOString();
    state.complete = state.trials.length >= total;
    storage.write(this.storeName, state);
    const comment = element('textarea', { rows: 3, maxlength: 1000, oninput: () => { state.comment = comment.value; } });
    comment.value = state.comment;
    const said = element('span', { class: 'missing', role: 'status' });
    const save = element('button', { type: 'button', class: 'main save', onclick: () => {
      this.download();
      said.textContent = 'Saved. Hand the file to whoever asked you.';
    } }, 'Save your votes');
    const copy = element('button', { type: 'button', class: 'copy', onclick: async () => {
      try {
        await navigator.clipboard.writeText(this.votes());
        said.textContent = 'Copied: paste it into a message or a file.';
      } catch { said.textContent = 'This browser refuses to copy: save the file instead.'; }
    } }, 'Copy them');
    const again = element('button', { type: 'button', class: 'quiet', onclick: () => {
      storage.remove(this.storeName);
      this.welcome();
    } }, 'Back to the beginning');
    this.show(
      element('h2', {}, 'Thank you'),
      element('p', {}, state.complete ? 'That was all.' : `You did ${state.trials.length} of ${total}.`),
      element('label', { class: 'field' }, 'Anything you noticed? ', comment),
      element('div', { class: 'actions' }, save, copy, again, said),
    );
  }

  votes() {
    const { state, data } = this;
    const { session, listener, name, method, seed, started, finished, complete, comment, trials } = state;
    const votes = {
      format: data.format, version: data.version, preset: data.preset, comparison: data.comparison, test: data.test,
      page_seed: data.seed, session, listener, name, user_agent: navigator.userAgent, method, seed, started, finished,
      complete, comment: comment.replace(/[^\P{C}\n]/gu, ' '), trials,
    };
    if (method === 'abx') {
      const correct = trials.filter(trial => trial.answer === trial.x).length;
      votes.abx = { trials: trials.length, correct, p_value: binomialTail(correct, trials.length) };
    }
    return JSON.stringify(votes, null, 1);
  }

  download() {
    const address = URL.createObjectURL(new Blob([this.votes()], { type: 'application/json' }));
    const link = element('a', {
      href: address, download: `votes-${this.data.preset}-${this.state.method}-${this.state.session}.json`,
    });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
}

new Test(document.currentScript.closest('.listening-test'));
})();
