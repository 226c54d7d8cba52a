// The test itself: its screens, its random orders, its votes; comes after listening_player.js and headphone_check.js.

const FRAMED = window.parent !== window; // as an artifact in MLflow, which allows scripts and nothing else
const LABELS = ['Bad', 'Poor', 'Fair', 'Good', 'Excellent'];

class Test {
  constructor(root) {
    this.stage = root.querySelector('.stage');
    this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    this.plan = JSON.parse(atob(this.data.plan));
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
    const saved = storage.read(this.storeName);
    const name = element('input', { type: 'text', maxlength: 60, autocomplete: 'off', class: 'name' });
    const choices = [
      element('button', { type: 'button', class: 'main rate', onclick: () => this.begin(name.value) },
        `Rate ${this.plan.trials.length} ${this.plan.trials.length === 1 ? 'recording' : 'recordings'}`),
    ];
    if (saved && saved.session) choices.unshift(element('button', {
      type: 'button', class: 'main resume', onclick: () => this.resume(saved),
    }, saved.finished ? 'Save the votes you gave before' : `Continue where you stopped (${saved.trials.length} done)`));
    const warning = FRAMED ? [element('p', { class: 'warning', role: 'note' }, 'Here the page is part of another one, as in '
      + 'MLflow, where browsers let it save nothing: a test that is interrupted is lost, and your votes appear at the '
      + 'end as text to copy. Better: download this page (in MLflow by the arrow above) and open the file.')] : [];
    const points = [
      'Use headphones, in a quiet room. On a phone, switch off silent mode. A check of both, and of the volume, comes first.',
      'All sounds of a recording are equally loud. The page does not tell which system made which sound, and each listener gets another order.',
      `Nothing is sent anywhere: at the end you ${FRAMED ? 'copy' : 'save a file with'} your votes and pass it on.`,
    ];
    this.show(
      element('h2', {}, 'Before you begin'),
      ...warning,
      element('ul', {}, ...points.map(point => element('li', {}, point))),
      element('label', { class: 'field' }, 'Your name or initials (give them if others use this device too) ', name),
      element('div', { class: 'actions' }, ...choices),
    );
  }

  begin(name) {
    const given = /(?:^#|&)seed=(\d{1,10})(?:&|$)/.exec(location.hash);
    const clean = name.replace(/\p{C}/gu, ' ').trim().slice(0, 60);
    this.state = {
      session: hex(8), listener: this.listener(clean), name: clean, method: 'mushra',
      seed: given ? Number(given[1]) >>> 0 : crypto.getRandomValues(new Uint32Array(1))[0],
      started: new Date().toISOString(), finished: null, headphones: null, trained: false, trials: [], comment: '',
    };
    this.draw();
    this.next();
  }

  // Of each listener the last session counts, so two who share a browser must not be taken for one.
  listener(name) {
    const known = new Map(storage.read('overtone-listeners') || []), key = name.toLowerCase();
    if (!known.has(key)) known.set(key, hex(8));
    storage.write('overtone-listeners', [...known]);
    return known.get(key);
  }

  resume(saved) {
    this.state = saved;
    this.draw();
    this.next();
  }

  // Everything random about a session follows from its seed.
  draw() {
    const random = generator(this.state.seed), { trials } = this.plan;
    this.order = shuffled(trials.map((_, i) => i), random);
    this.orders = trials.map(trial => shuffled(Object.keys(trial.sounds).sort(), random));
    this.exerciseOrder = shuffled(Object.keys(this.plan.practice.sounds).sort(), random);
  }

  async next() {
    const { state } = this, total = this.order.length;
    storage.write(this.storeName, state);
    if (state.finished || state.trials.length >= total) return this.end();
    if (state.headphones == null) return this.check();
    await this.rate(state.trained ? state.trials.length : -1, total);
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

  // ---- volume and headphones

  async check() {
    const { state, plan } = this;
    if (!await this.loaded([plan.practice.sounds[plan.reference]])) return;
    let right = null;
    const go = element('button', { type: 'button', class: 'main next', disabled: true, onclick: () => {
      tones.stop();
      state.headphones = right;
      this.next();
    } }, 'To the exercise');
    const tones = new HeadphoneCheck(this.player.context, generator(~state.seed), this.data.headphone_rounds, found => {
      right = found;
      go.disabled = false;
      if (right === this.data.headphone_rounds) go.focus();
    });
    const speech = element('button', { type: 'button', class: 'toggle', onclick: () => {
      tones.stop();
      if (this.player.playing) this.player.stop(); else this.player.play(0);
    } }, 'Play');
    tones.play.addEventListener('click', () => this.player.stop());
    this.show(
      element('h2', {}, 'Volume and headphones'),
      element('h3', {}, 'Volume'),
      element('p', {}, 'Set your device so that this speech is easy to listen to, and leave it there until the end.'),
      element('div', { class: 'transport' }, speech),
      element('h3', {}, 'Headphones'),
      element('p', {}, 'Of three tones, which is the softest? It is told apart through headphones only.'),
      tones.node,
      element('div', { class: 'actions' }, go),
    );
    this.toggle = speech;
  }

  // ---- rating

  async rate(number, total) {
    const training = number < 0, item = this.order[number];
    const order = training ? this.exerciseOrder : this.orders[item];
    const { sounds } = training ? this.plan.practice : this.plan.trials[item];
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
        ? 'Try it: which of the sounds come close to the reference? This recording does not count.'
        : 'How good is each sound, compared with the reference? One of them is the reference itself: it should get 100.'),
      this.transport('Reference'), (this.loopSlot = element('div')),
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
    const { file, condition } = this.plan.trials[item];
    const named = values => Object.fromEntries(order.map((system, i) => [system, values[i]]));
    return { file, condition, order, ratings: named(this.trial.ratings), plays: named(this.trial.plays),
      seconds: this.seconds() };
  }

  seconds() { return Math.round((performance.now() - this.trial.begun) / 100) / 10; }

  // ---- parts of the screen

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

  afterShow() {
    this.buttons = this.pending;
    this.pending = [];
    this.loop = new Loop(this.player);
    this.loopSlot.replaceWith(this.loop.node);
    this.loop.draw();
    this.refresh();
    this.advance();
  }

  stopButton(training) {
    if (training) return '';
    let asked = false; // in the page: a frame refuses confirm()
    const stop = element('button', { type: 'button', class: 'quiet', onclick: () => {
      if (this.state.trials.length === 0) return this.welcome();
      if (asked) return this.end();
      asked = true;
      stop.textContent = 'End the test here? What you have rated is kept. Press again.';
    } }, 'Stop here');
    return stop;
  }

  hear(index) {
    this.trial.heard.add(index);
    if (index > 0) this.trial.plays[index - 1] += 1;
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
      if (target.matches('button')) return;
      event.preventDefault();
      return this.playOrStop();
    }
    const index = 'r123456789'.indexOf(event.key.toLowerCase());
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
    const { state } = this, total = this.order.length;
    state.finished = state.finished || new Date().toISOString();
    state.complete = state.trials.length >= total;
    storage.write(this.storeName, state);
    // As text too, since a frame refuses downloads without a word. Set as a value: it names the systems.
    const text = element('textarea', { class: 'votes', rows: 8, readonly: true, onfocus: () => text.select() });
    const comment = element('textarea', { rows: 3, maxlength: 1000, oninput: () => {
      state.comment = comment.value;
      text.value = this.votes();
    } });
    comment.value = state.comment;
    text.value = this.votes();
    const shown = element('details', { open: FRAMED }, element('summary', {}, 'The votes as text'),
      element('label', { class: 'field' }, `Paste all of it into a file named ${this.fileName()}, or into a message. `, text));
    const said = element('p', { class: 'missing', role: 'status' });
    const save = element('button', { type: 'button', class: 'main save', onclick: () => {
      this.download();
      said.textContent = `Your browser saves ${this.fileName()}, as a rule among its downloads. Send that file to the `
        + 'person who asked you. If there is none, copy the votes.';
    } }, 'Save your votes');
    const copy = element('button', { type: 'button', class: FRAMED ? 'main copy' : 'copy', onclick: async () => {
      shown.open = true;
      text.select();
      let copied = document.execCommand('copy'); // where the clipboard itself is refused, as in a frame
      try {
        await navigator.clipboard.writeText(text.value);
        copied = true;
      } catch { /* said below */ }
      said.textContent = copied ? 'Copied: paste it into a message or a file.'
        : 'This browser refuses to copy by a button: the votes are selected, copy them by Ctrl-C.';
    } }, FRAMED ? 'Copy your votes' : 'Copy them');
    const again = element('button', { type: 'button', class: 'quiet', onclick: () => {
      storage.remove(this.storeName);
      this.welcome();
    } }, 'Back to the beginning');
    this.show(
      element('h2', {}, 'Thank you'),
      element('p', {}, state.complete ? 'That was all.' : `You did ${state.trials.length} of ${total}.`),
      element('label', { class: 'field' }, 'Anything you noticed? ', comment),
      element('div', { class: 'actions' }, ...(FRAMED ? [copy] : [save, copy]), again),
      said, shown,
    );
  }

  votes() {
    const { state, data } = this;
    const { session, listener, name, method, seed, headphones, started, finished, complete, comment, trials } = state;
    return JSON.stringify({
      format: data.format, version: data.version, preset: data.preset, comparison: data.comparison, test: data.test,
      page_seed: data.seed, session, listener, name, user_agent: navigator.userAgent, method, seed, headphones, started, finished,
      complete, comment: comment.replace(/[^\P{C}\n]/gu, ' '), trials,
    }, null, 1);
  }

  fileName() { return `votes-${this.data.preset}-${this.state.method}-${this.state.session}.json`; }

  download() {
    const address = URL.createObjectURL(new Blob([this.votes()], { type: 'application/json' }));
    const link = element('a', { href: address, download: this.fileName() });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
}

new Test(document.currentScript.closest('.listening-test'));
