// The microphone through the server and back to the ear, while one speaks.
import { whyClosed, worklet } from './api.js';
import { Microphone, decibels } from './microphone.js';
import { TOP_HZ, prepared } from './plot.js';
import { sentence } from './problem.js';

const RATE = 48000;
const BLOCK_SECONDS = 0.01;
const RESERVE_SECONDS = 0.06;
const SIZE = 2048;
const LEFT = 44;
const BOTTOM = 22;
const LOWEST_DB = -110;

const element = (id) => document.getElementById(id);

export class Live {
  constructor() {
    this.heard = 'enhanced';
    element('live').addEventListener('click', () => (this.running ? this.stop('Stopped.') : this.start()));
    document.querySelectorAll('[name=live-heard]').forEach((choice) => choice.addEventListener('change', () => { this.heard = choice.value; }));
    element('live-denoise').addEventListener('change', () => { if (this.running) this.restart(); });
  }

  async restart() {
    this.stop('');
    await this.start();
  }

  async start() {
    if (this.running) return;
    this.running = true;
    this.waiting = [];
    this.trips = [];
    this.show('Stop', 'Asking for the microphone …');
    element('live-problem').hidden = true;
    const begun = this.begun = {};
    try {
      const blockSamples = Math.round(BLOCK_SECONDS * RATE);
      const microphone = await Microphone.open(blockSamples, (block) => this.send(block), RATE);
      if (this.begun !== begun) return microphone.close();
      this.microphone = microphone;
      await this.openPlayback();
      if (this.begun === begun) this.openSocket();
    } catch (error) {
      if (this.begun === begun) this.fail(sentence(error));
    }
  }

  async openPlayback() {
    const { context } = this.microphone;
    await worklet(context, 'playback_worklet.js');
    this.playback = new AudioWorkletNode(context, 'playback', {
      numberOfInputs: 0, numberOfOutputs: 1, outputChannelCount: [1],
      processorOptions: { reserveSamples: Math.round(RESERVE_SECONDS * context.sampleRate) },
    });
    this.playback.port.onmessage = ({ data }) => { element('live-gaps').textContent = data.gaps; };
    this.playback.connect(context.destination);
    this.analysers = { in: analyser(context), out: analyser(context) };
    context.source.connect(this.analysers.in);
    this.playback.connect(this.analysers.out);
  }

  openSocket() {
    const address = new URL('/api/stream', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    address.search = new URLSearchParams({ rate: this.microphone.rate, denoise: element('live-denoise').checked ? 1 : 0 });
    const socket = this.socket = new WebSocket(address);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => (typeof data === 'string' ? this.told(JSON.parse(data)) : this.take(new Float32Array(data)));
    socket.onclose = async () => {
      if (this.socket !== socket) return;
      this.stop('');
      const why = this.said || await whyClosed();
      if (!this.running) this.fail(why);
    };
    this.said = '';
  }

  send(block) {
    element('live-in').value = decibels(block);
    if (!this.ready || this.socket.bufferedAmount > RATE) return;
    this.waiting.push({ block: block.slice(), sent: performance.now() });
    this.socket.send(block);
  }

  take(enhanced) {
    const { block, sent } = this.waiting.shift();
    this.trips.push(performance.now() - sent);
    if (this.trips.length > 100) this.trips.shift();
    element('live-out').value = decibels(enhanced);
    const original = this.delayed(block);
    this.playback.port.postMessage(this.heard === 'enhanced' ? enhanced : original);
  }

  // The microphone as late as the model's output, so that switching between both does not jump.
  delayed(block) {
    const joined = new Float32Array(this.past.length + block.length);
    joined.set(this.past);
    joined.set(block, this.past.length);
    this.past = joined.slice(block.length);
    return joined.slice(0, block.length);
  }

  told(facts) {
    if (facts.error) this.said = facts.error;
    if (facts.warning) {
      element('live-problem').textContent = facts.warning;
      element('live-problem').hidden = false;
    }
    if (facts.latency_ms !== undefined) {
      this.latency = facts.latency_ms;
      this.past = new Float32Array(Math.round(facts.latency_ms / 1000 * this.microphone.rate));
      this.ready = true;
      element('live-latency').textContent = `${facts.latency_ms.toFixed(1)} ms`;
      this.show('Stop', 'Live. Speak, and switch between microphone and enhanced.');
      this.animate();
    }
    if (facts.bandwidth_hz) {
      const found = Math.max(...facts.bandwidth_hz);
      element('live-band').textContent = found ? `to ${(found / 1000).toFixed(1)} kHz` : '–';
      element('live-total').textContent = `${Math.round(this.total())} ms`;
    }
  }

  // Everything between microphone and ear that the page can know.
  total() {
    const { context } = this.microphone;
    const trip = this.trips.reduce((sum, one) => sum + one, 0) / Math.max(1, this.trips.length);
    const hardware = 1000 * ((context.baseLatency || 0) + (context.outputLatency || 0));
    return this.latency + 1000 * (BLOCK_SECONDS + RESERVE_SECONDS) + trip + hardware;
  }

  fail(text) {
    this.stop('');
    element('live-problem').textContent = text;
    element('live-problem').hidden = false;
  }

  stop(text) {
    this.running = this.ready = false;
    this.begun = null;
    const { socket } = this;
    this.socket = null;
    if (socket) socket.close();
    if (this.microphone) this.microphone.close();
    this.microphone = null;
    element('live-in').value = element('live-out').value = -60;
    this.show('Start', text);
  }

  show(label, status) {
    element('live-label').textContent = label;
    element('live').classList.toggle('running', this.running);
    element('live-status').textContent = status;
  }

  animate() {
    if (!this.ready) return;
    this.drawSpectrum();
    requestAnimationFrame(() => this.animate());
  }

  drawSpectrum() {
    const [pen, width, height] = prepared(element('spectrum'));
    const style = getComputedStyle(document.documentElement);
    axes(pen, width, height, style.getPropertyValue('--soft'), style.getPropertyValue('--line'));
    if (!this.analysers || !this.microphone) return;
    for (const [name, colour] of [['in', '--original'], ['out', '--accent']]) {
      const levels = new Float32Array(SIZE / 2);
      this.analysers[name].getFloatFrequencyData(levels);
      line(pen, levels, width, height, this.microphone.rate, style.getPropertyValue(colour));
    }
  }
}

function analyser(context) {
  const node = context.createAnalyser();
  node.fftSize = SIZE;
  node.smoothingTimeConstant = 0.7;
  return node;
}

function axes(pen, width, height, ink, rule) {
  pen.font = '11px system-ui, sans-serif';
  for (const decibel of [-20, -50, -80]) {
    const y = (height - BOTTOM) * decibel / LOWEST_DB;
    pen.fillStyle = rule;
    pen.fillRect(LEFT, Math.round(y), width - LEFT, 1);
    pen.fillStyle = ink;
    pen.textAlign = 'right';
    pen.fillText(`${decibel} dB`, LEFT - 6, y + 4);
  }
  pen.fillStyle = rule;
  pen.fillRect(LEFT, height - BOTTOM, width - LEFT, 1);
  pen.fillStyle = ink;
  pen.textAlign = 'center';
  for (const kilohertz of [0, 6, 12, 18, 24]) {
    const x = LEFT + (width - LEFT) * 1000 * kilohertz / TOP_HZ;
    pen.fillText(kilohertz === 24 ? '24 kHz' : kilohertz, Math.min(x, width - 20), height - 6);
  }
}

function line(pen, levels, width, height, rate, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  levels.forEach((level, bin) => {
    const x = LEFT + (width - LEFT) * bin * rate / SIZE / TOP_HZ;
    const y = (height - BOTTOM) * Math.min(1, Math.max(0, level / LOWEST_DB));
    if (bin) pen.lineTo(x, y);
    else pen.moveTo(x, y);
  });
  pen.stroke();
}
