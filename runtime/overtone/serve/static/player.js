// Two versions of a clip that run together, one of them heard: switching leaves no gap and keeps the position.
const FADE_SECONDS = 0.01;

export class Player {
  constructor(context, changed) {
    this.context = context;
    this.changed = changed;
    this.sides = {};
    this.heard = 'original';
    this.playing = false;
    this.at = 0;
    this.duration = 0;
  }

  // level is a constant factor, so that a side which had to be made quieter is compared with an equally quiet one
  set(side, buffer, level = 1) {
    const position = this.position();
    const playing = this.playing;
    this.halt();
    const gain = this.context.createGain();
    gain.connect(this.context.destination);
    this.sides[side]?.gain.disconnect();
    this.sides[side] = { buffer, gain, level };
    this.duration = Math.max(...Object.values(this.sides).map((one) => one.buffer.duration));
    this.at = Math.min(position, this.duration);
    this.switchTo(this.heard);
    if (playing) this.play();
  }

  level(side, level) {
    if (this.sides[side]) this.sides[side].level = level;
    this.switchTo(this.heard);
  }

  clear() {
    this.halt();
    Object.values(this.sides).forEach(({ gain }) => gain.disconnect());
    this.sides = {};
    this.heard = 'original';
    this.at = 0;
    this.duration = 0;
    this.changed();
  }

  position() {
    if (!this.playing) return this.at;
    return Math.min(this.duration, Math.max(this.at, this.at + this.context.currentTime - this.began));
  }

  switchTo(side) {
    if (this.sides[side]) this.heard = side;
    const now = this.context.currentTime;
    for (const [name, { gain, level }] of Object.entries(this.sides)) {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(name === this.heard ? level : 0, now + FADE_SECONDS);
    }
    this.changed();
  }

  async play() {
    if (this.playing || !this.duration) return;
    await this.context.resume();
    if (this.at >= this.duration) this.at = 0;
    this.began = this.context.currentTime + 0.02;
    this.sources = Object.values(this.sides).map(({ buffer, gain }) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(gain);
      source.start(this.began, Math.min(this.at, buffer.duration));
      return source;
    });
    this.sources[0].onended = () => {
      this.at = this.duration;
      this.halt();
      this.changed();
    };
    this.playing = true;
    this.changed();
  }

  pause() {
    this.at = this.position();
    this.halt();
    this.changed();
  }

  seek(seconds) {
    const playing = this.playing;
    this.halt();
    this.at = Math.min(this.duration, Math.max(0, seconds));
    if (playing) this.play();
    this.changed();
  }

  halt() {
    (this.sources || []).forEach((source) => {
      source.onended = null;
      source.stop();
      source.disconnect();
    });
    this.sources = [];
    this.playing = false;
  }
}
