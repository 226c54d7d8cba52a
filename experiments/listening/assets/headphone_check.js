// Whether the two ears hear apart, by the three tones of Woods, Siegel, Traer and McDermott (2017): one is softer, and
// one, in opposite phase on both sides, is softer still where loudspeakers let both sides meet. Comes before listening.js.

const TONE = { hertz: 200, seconds: 1, pause: 0.5, ramp: 0.1, level: 0.15, softer: 0.5 };

const toneBuffer = (context, kinds) => {
  const rate = context.sampleRate, length = Math.round(TONE.seconds * rate), step = Math.round((TONE.seconds + TONE.pause) * rate);
  const buffer = context.createBuffer(2, step * kinds.length, rate);
  kinds.forEach((kind, place) => [0, 1].forEach(side => {
    const samples = buffer.getChannelData(side);
    const level = TONE.level * (kind === 'softer' ? TONE.softer : 1) * (kind === 'opposed' && side ? -1 : 1);
    for (let i = 0; i < length; i++) {
      const ramp = Math.min(1, Math.min(i, length - i) / (TONE.ramp * rate));
      samples[place * step + i] = level * ramp * Math.sin(2 * Math.PI * TONE.hertz * i / rate);
    }
  }));
  return buffer;
};

class HeadphoneCheck {
  // done(right) comes with the number of rounds that were right
  constructor(context, random, rounds, done) {
    this.context = context;
    this.random = random;
    this.rounds = rounds;
    this.done = done;
    this.play = element('button', { type: 'button', class: 'tones', onclick: () => this.sound() }, 'Play the three tones');
    this.answers = ['First', 'Second', 'Third'].map((name, place) => element('button', {
      type: 'button', class: 'answer', onclick: () => this.take(place),
    }, name));
    this.said = element('p', { class: 'missing', role: 'status' });
    this.node = element('div', {}, element('div', { class: 'transport' }, this.play, ...this.answers), this.said);
    this.begin();
  }

  begin() {
    this.round = this.right = 0;
    this.ask();
  }

  ask() {
    this.kinds = shuffled(['full', 'softer', 'opposed'], this.random);
    this.answers.forEach(answer => { answer.disabled = true; });
    this.play.disabled = false;
    this.said.textContent = `Round ${this.round + 1} of ${this.rounds}.`;
  }

  sound() {
    this.stop();
    this.context.resume();
    this.source = this.context.createBufferSource();
    this.source.buffer = toneBuffer(this.context, this.kinds);
    this.source.connect(this.context.destination);
    this.source.start();
    this.answers.forEach(answer => { answer.disabled = false; });
  }

  stop() {
    if (this.source) this.source.stop();
    this.source = null;
  }

  take(place) {
    this.stop();
    this.right += this.kinds[place] === 'softer';
    this.round += 1;
    if (this.round < this.rounds) {
      this.ask();
      this.play.focus(); // the answer that had it is disabled
      return;
    }
    this.answers.forEach(answer => { answer.disabled = true; });
    this.play.disabled = true;
    const again = element('button', { type: 'button', class: 'again', onclick: () => {
      this.begin();
      this.play.focus();
    } }, 'Try again');
    if (this.right === this.rounds) this.said.textContent = 'All right: you hear through headphones.';
    else {
      this.said.replaceChildren(`Right in ${this.right} of ${this.rounds} rounds. That happens over loudspeakers, or where one `
        + 'side is silent. Put headphones on and try again, or go on as you are. ', again);
    }
    this.done(this.right);
  }
}
