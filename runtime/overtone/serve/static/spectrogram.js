// Levels of a clip for drawing: columns of peaks and of short-time spectra, on a linear frequency scale.
const SIZE = 2048;
const MOST_FRAMES = 4; // averaged in a column of a long clip
const BREATH = 64; // columns between two chances for the page to answer

export const FLOOR_DB = -90;
export const ROWS = SIZE / 4;

export async function picture(samples, columns = 960) {
  const peaks = new Float32Array(2 * columns);
  const levels = new Float32Array(columns * ROWS);
  const transform = fourier(SIZE);
  let loudest = -Infinity;
  for (let column = 0; column < columns; column += 1) {
    const from = Math.floor(samples.length * column / columns);
    const to = Math.max(from + 1, Math.floor(samples.length * (column + 1) / columns));
    extremes(samples, from, to, peaks, 2 * column);
    loudest = Math.max(loudest, spectrum(samples, from, to, transform, levels.subarray(column * ROWS, (column + 1) * ROWS)));
    if (column % BREATH === BREATH - 1) await new Promise((resolve) => { setTimeout(resolve); });
  }
  return { columns, peaks, levels, loudest };
}

function extremes(samples, from, to, peaks, at) {
  let [low, high] = [Infinity, -Infinity];
  for (let index = from; index < Math.min(to, samples.length); index += 1) {
    low = Math.min(low, samples[index]);
    high = Math.max(high, samples[index]);
  }
  peaks[at] = Number.isFinite(low) ? low : 0;
  peaks[at + 1] = Number.isFinite(high) ? high : 0;
}

// Mean power of frames centred in the column, in decibels, two bins a row; returns the loudest.
function spectrum(samples, from, to, transform, levels) {
  const frames = Math.min(MOST_FRAMES, Math.max(1, Math.floor((to - from) / (SIZE / 2))));
  const power = new Float32Array(SIZE / 2);
  for (let frame = 0; frame < frames; frame += 1) {
    const centre = from + (to - from) * (frame + 0.5) / frames;
    transform(samples, Math.round(centre) - SIZE / 2, power);
  }
  let loudest = -Infinity;
  for (let row = 0; row < ROWS; row += 1) {
    const most = Math.max(power[2 * row], power[2 * row + 1]) / frames;
    levels[row] = 10 * Math.log10(most + 1e-16);
    loudest = Math.max(loudest, levels[row]);
  }
  return loudest;
}

// Adds a Hann-windowed frame's power to bins; a full-scale sine is 0 dB.
function fourier(size) {
  const window = Float32Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / size));
  const cosine = Float64Array.from({ length: size / 2 }, (_, n) => Math.cos(2 * Math.PI * n / size));
  const sine = Float64Array.from({ length: size / 2 }, (_, n) => -Math.sin(2 * Math.PI * n / size));
  const bits = Math.log2(size);
  const reversed = Uint32Array.from({ length: size }, (_, n) => {
    let turned = 0;
    for (let bit = 0; bit < bits; bit += 1) turned |= ((n >> bit) & 1) << (bits - 1 - bit);
    return turned;
  });
  const real = new Float64Array(size);
  const imaginary = new Float64Array(size);
  return (samples, start, power) => {
    for (let n = 0; n < size; n += 1) {
      real[reversed[n]] = (samples[start + n] || 0) * window[n];
      imaginary[n] = 0;
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let block = 0; block < size; block += 2 * half) {
        for (let k = 0; k < half; k += 1) {
          const [i, j] = [block + k, block + k + half];
          const re = real[j] * cosine[k * step] - imaginary[j] * sine[k * step];
          const im = real[j] * sine[k * step] + imaginary[j] * cosine[k * step];
          real[j] = real[i] - re;
          imaginary[j] = imaginary[i] - im;
          real[i] += re;
          imaginary[i] += im;
        }
      }
    }
    const scale = (4 / size) ** 2;
    for (let bin = 0; bin < size / 2; bin += 1) {
      power[bin] += scale * (real[bin] ** 2 + imaginary[bin] ** 2);
    }
  };
}
