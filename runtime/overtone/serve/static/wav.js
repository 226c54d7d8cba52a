// Samples to a WAV file of 32-bit floats, which loses nothing.
const HEAD = 58;
const FLOAT = 3;

export function wav(channels, rate) {
  const frames = channels[0].length;
  const bytes = 4 * frames * channels.length;
  const view = new DataView(new ArrayBuffer(HEAD));
  text(view, 0, 'RIFF');
  view.setUint32(4, HEAD - 8 + bytes, true);
  text(view, 8, 'WAVEfmt ');
  view.setUint32(16, 18, true);
  view.setUint16(20, FLOAT, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 4 * rate * channels.length, true);
  view.setUint16(32, 4 * channels.length, true);
  view.setUint16(34, 32, true);
  view.setUint16(36, 0, true);
  text(view, 38, 'fact');
  view.setUint32(42, 4, true);
  view.setUint32(46, frames, true);
  text(view, 50, 'data');
  view.setUint32(54, bytes, true);
  const samples = new Float32Array(frames * channels.length);
  channels.forEach((channel, number) => {
    for (let frame = 0; frame < frames; frame += 1) samples[frame * channels.length + number] = channel[frame];
  });
  return new Blob([view.buffer, samples.buffer], { type: 'audio/wav' });
}

function text(view, at, letters) {
  [...letters].forEach((letter, number) => view.setUint8(at + number, letter.charCodeAt(0)));
}

export function joined(blocks) {
  const whole = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
}
