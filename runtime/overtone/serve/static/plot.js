// Draws a clip's waveform above its spectrogram, with labelled axes.
import { FLOOR_DB, ROWS } from './spectrogram.js';

export const TOP_HZ = 24000;
const LEFT = 44;
const RIGHT = 6;
const WAVE = 56;
const GAP = 8;
const BOTTOM = 22;
const TICKS_KHZ = [0, 6, 12, 18, 24];
const COLOURS = [
  [0, 10, 9, 22], [0.2, 46, 18, 84], [0.4, 116, 30, 109], [0.6, 188, 55, 84], [0.8, 243, 120, 59], [1, 252, 245, 190],
];
const PALETTE = palette();

export function draw(canvas, clip, duration, loudest, colour) {
  const [pen, width, height] = prepared(canvas);
  const style = getComputedStyle(document.documentElement);
  const inner = width - LEFT - RIGHT;
  const top = WAVE + GAP;
  const tall = height - top - BOTTOM;
  waveform(pen, clip, inner, style.getPropertyValue(colour));
  pen.imageSmoothingEnabled = true;
  pen.drawImage(image(clip, loudest), LEFT, top, inner, tall);
  pen.fillStyle = style.getPropertyValue('--soft');
  pen.font = '11px system-ui, sans-serif';
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  for (const tick of TICKS_KHZ) {
    const y = top + tall * (1 - tick / 24);
    pen.fillText(tick, LEFT - 8, Math.min(y, top + tall - 4));
    pen.fillRect(LEFT - 4, Math.round(y) - (tick ? 0 : 1), 4, 1);
  }
  pen.save();
  pen.translate(10, top + tall / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = 'center';
  pen.fillText('kHz', 0, 0);
  pen.restore();
  times(pen, duration, inner, height);
}

export function drawScale(canvas) {
  const pen = canvas.getContext('2d');
  PALETTE.forEach(([red, green, blue], number) => {
    pen.fillStyle = `rgb(${red} ${green} ${blue})`;
    pen.fillRect(number, 0, 1, 1);
  });
}

// Where a share of the clip lies in the canvas, and back.
export function across(canvas, share) {
  return LEFT + share * (canvas.clientWidth - LEFT - RIGHT);
}

export function shareAt(canvas, x) {
  return Math.min(1, Math.max(0, (x - LEFT) / (canvas.clientWidth - LEFT - RIGHT)));
}

// A canvas in units of CSS pixels, sharp on any screen.
export function prepared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [pen, width, height];
}

function waveform(pen, clip, inner, colour) {
  const middle = WAVE / 2;
  pen.fillStyle = colour;
  for (let x = 0; x < inner; x += 1) {
    const from = Math.floor(x * clip.columns / inner);
    const to = Math.max(from + 1, Math.floor((x + 1) * clip.columns / inner));
    let [low, high] = [0, 0];
    for (let column = from; column < to; column += 1) {
      low = Math.min(low, clip.peaks[2 * column]);
      high = Math.max(high, clip.peaks[2 * column + 1]);
    }
    const [upper, lower] = [middle * (1 - Math.min(1, high)), middle * (1 - Math.max(-1, low))];
    pen.fillRect(LEFT + x, upper, 1, Math.max(1, lower - upper));
  }
}

function image(clip, loudest) {
  const canvas = document.createElement('canvas');
  canvas.width = clip.columns;
  canvas.height = ROWS;
  const pen = canvas.getContext('2d');
  const pixels = pen.createImageData(clip.columns, ROWS);
  for (let column = 0; column < clip.columns; column += 1) {
    for (let row = 0; row < ROWS; row += 1) {
      const share = 1 - (clip.levels[column * ROWS + row] - loudest) / FLOOR_DB;
      const [red, green, blue] = PALETTE[Math.round(255 * Math.min(1, Math.max(0, share)))];
      pixels.data.set([red, green, blue, 255], 4 * ((ROWS - 1 - row) * clip.columns + column));
    }
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

function times(pen, duration, inner, height) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120].find((size) => duration / size * 56 <= inner) || 300;
  pen.textAlign = 'center';
  pen.textBaseline = 'alphabetic';
  for (let number = 0; number * step <= duration; number += 1) {
    const x = LEFT + inner * number * step / duration;
    pen.fillRect(Math.round(x), height - BOTTOM, 1, 4);
    const label = `${Number((number * step).toFixed(1))}${number ? '' : ' s'}`;
    pen.fillText(label, Math.min(x, LEFT + inner - 6), height - 5);
  }
}

function palette() {
  return Array.from({ length: 256 }, (_, number) => {
    const share = number / 255;
    const above = Math.max(1, COLOURS.findIndex(([at]) => at >= share));
    const [low, high] = [COLOURS[above - 1], COLOURS[above]];
    const mix = (share - low[0]) / (high[0] - low[0]);
    return [1, 2, 3].map((part) => Math.round(low[part] + mix * (high[part] - low[part])));
  });
}
