// The microphone as it is, in blocks.
import { worklet } from './api.js';
import { Problem } from './problem.js';

const WORDS = {
  NotAllowedError: 'The browser has no permission for the microphone. Allow it beside the address, then try again, or choose a file.',
  NotFoundError: 'No microphone was found. Plug one in and try again, or choose a file.',
  NotReadableError: 'The microphone is in use by another program. Close that, then try again.',
};

export class Microphone {
  // take(block): a Float32Array of blockSamples at .rate
  static async open(blockSamples, take, rate) {
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      throw new Problem(window.isSecureContext ? 'This browser cannot record. Try a current Firefox, Chrome or Safari, or choose a file.' : insecure());
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { autoGainControl: false, noiseSuppression: false, echoCancellation: false, channelCount: 1 },
      });
    } catch (error) {
      throw new Problem(WORDS[error.name] || `The microphone does not open (${error.message || error.name}). Choose a file instead.`);
    }
    const microphone = new Microphone(stream);
    try {
      await microphone.listen(blockSamples, take, rate);
    } catch (error) {
      microphone.close();
      throw error instanceof Problem ? error : new Problem(`The browser cannot record (${error.message || error.name}). Choose a file instead.`);
    }
    return microphone;
  }

  constructor(stream) {
    this.stream = stream;
  }

  async listen(blockSamples, take, rate) {
    this.context = await contextOf(this.stream, rate);
    this.rate = this.context.sampleRate;
    await worklet(this.context, 'capture_worklet.js');
    this.capture = new AudioWorkletNode(this.context, 'capture', {
      numberOfInputs: 1, numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit', processorOptions: { blockSamples },
    });
    this.capture.port.onmessage = ({ data }) => take(data);
    this.context.source.connect(this.capture);
    await this.context.resume();
  }

  close() {
    this.stream.getTracks().forEach((track) => track.stop());
    if (this.capture) this.capture.port.onmessage = null;
    if (this.context && this.context.state !== 'closed') this.context.close();
  }
}

// Some browsers take a microphone at its own rate only.
async function contextOf(stream, rate) {
  const wanted = rate ? [{ sampleRate: rate }, {}] : [{}];
  for (const options of wanted) {
    const context = new AudioContext({ latencyHint: 'interactive', ...options });
    try {
      context.source = context.createMediaStreamSource(stream);
      return context;
    } catch {
      await context.close();
    }
  }
  throw new Problem('The browser does not let the page listen to this microphone. Choose a file instead.');
}

// Of an address such as http://192.168.1.5:8000, where the machine that serves is another.
function insecure() {
  const { origin, hostname, port } = window.location;
  return `Browsers give a page the microphone only over HTTPS or from the machine that serves it, and this is ${origin}. `
    + `On a computer, run: ssh -N -L 8000:127.0.0.1:${port || 80} ${hostname}, and open http://127.0.0.1:8000. For a phone, put `
    + 'HTTPS before the server: “Behind a reverse proxy” in its documentation. Files work here as well.';
}

export function decibels(block) {
  let sum = 0;
  for (const sample of block) sum += sample * sample;
  return Math.max(-60, 10 * Math.log10(sum / block.length + 1e-12));
}

export function peak(block) {
  let most = 0;
  for (const sample of block) most = Math.max(most, Math.abs(sample));
  return most;
}
