// Records the microphone until stopped or full.
import { Microphone } from './microphone.js';
import { joined, wav } from './wav.js';

const BLOCK_SAMPLES = 2048;

export class Recorder {
  // heard(block, seconds) follows every block; full() comes when the longest recording is reached
  static async start(mostSeconds, heard, full) {
    const recorder = new Recorder();
    recorder.microphone = await Microphone.open(BLOCK_SAMPLES, (block) => {
      if (recorder.seconds() + BLOCK_SAMPLES / recorder.microphone.rate > mostSeconds) {
        full();
        return;
      }
      recorder.blocks.push(block);
      heard(block, recorder.seconds());
    });
    return recorder;
  }

  constructor() {
    this.blocks = [];
  }

  seconds() {
    return this.blocks.length * BLOCK_SAMPLES / this.microphone.rate;
  }

  stop() {
    this.microphone.close();
    return wav([joined(this.blocks)], this.microphone.rate);
  }
}
