// Plays blocks as they come, after a short reserve that evens out their arrival.
class Playback extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.reserve = options.processorOptions.reserveSamples;
    this.most = 4 * this.reserve;
    this.blocks = [];
    this.waiting = 0;
    this.offset = 0;
    this.filling = true;
    this.gaps = 0;
    this.port.onmessage = ({ data }) => {
      this.blocks.push(data);
      this.waiting += data.length;
    };
  }

  process(inputs, [output]) {
    const channel = output[0];
    if (this.filling && this.waiting < this.reserve) return true;
    this.filling = false;
    if (this.waiting > this.most) this.skipTo(this.reserve);
    let given = 0;
    while (given < channel.length && this.blocks.length) {
      const head = this.blocks[0];
      const count = Math.min(channel.length - given, head.length - this.offset);
      channel.set(head.subarray(this.offset, this.offset + count), given);
      given += count;
      this.advance(count);
    }
    if (given < channel.length) {
      this.filling = true;
      this.gaps += 1;
      this.port.postMessage({ gaps: this.gaps });
    }
    return true;
  }

  advance(count) {
    this.offset += count;
    this.waiting -= count;
    if (this.offset === this.blocks[0].length) {
      this.blocks.shift();
      this.offset = 0;
    }
  }

  // What has piled up would be heard late for ever.
  skipTo(samples) {
    while (this.waiting > samples) {
      this.advance(Math.min(this.waiting - samples, this.blocks[0].length - this.offset));
    }
    this.gaps += 1;
    this.port.postMessage({ gaps: this.gaps });
  }
}

registerProcessor('playback', Playback);
