// What the page asks of its server.
import { Problem } from './problem.js';

const GONE = 'The server does not answer. See whether `overtone serve` still runs, then try again.';

export async function enhance(blob, name, denoise, signal) {
  const query = new URLSearchParams({ name, denoise: denoise ? '1' : '0' });
  const answer = await post(`/api/enhance?${query}`, blob, signal);
  const header = (title) => Number(answer.headers.get(`X-Overtone-${title}`));
  return {
    blob: await answer.blob(),
    audioSeconds: header('Audio-Seconds'),
    processingSeconds: header('Processing-Seconds'),
    gain: 10 ** (header('Gain-dB') / 20),
    loss: answer.headers.get('X-Overtone-Loss'),
  };
}

export async function decode(blob, signal) {
  const answer = await post('/api/decode', blob, signal);
  return { blob: await answer.blob(), loss: answer.headers.get('X-Overtone-Loss') };
}

export async function sample(signal) {
  return (await ask(new URL('sample.flac', import.meta.url), { signal })).blob();
}

// Sound is taken and played by modules that the browser fetches for each context.
export async function worklet(context, name) {
  try {
    await context.audioWorklet.addModule(new URL(name, import.meta.url));
  } catch {
    throw new Problem(GONE);
  }
}

// Says why a live stream ended without a word of the server's: a socket tells nobody.
export async function whyClosed() {
  try {
    await ask('/api/health', { cache: 'no-store' });
  } catch (problem) {
    return problem.message;
  }
  return 'The server closed the stream: as many as it serves are running, or nothing came for long. Try again in a moment.';
}

function post(address, blob, signal) {
  return ask(address, { method: 'POST', body: blob, signal, headers: { 'Content-Type': 'application/octet-stream' } });
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(GONE);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const problem = new Problem(said.error || `The server answered with status ${answer.status}. Try again.`);
  problem.status = answer.status;
  throw problem;
}
