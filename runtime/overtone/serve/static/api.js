// What the page asks of its server.
import { Problem } from './problem.js';

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
  return (await post('/api/decode', blob, signal)).blob();
}

async function post(address, blob, signal) {
  let answer;
  try {
    answer = await fetch(address, { method: 'POST', body: blob, signal, headers: { 'Content-Type': 'application/octet-stream' } });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The server does not answer. See whether `overtone serve` still runs, then try again.');
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const problem = new Problem(said.error || `The server answered with status ${answer.status}. Try again.`);
  problem.status = answer.status;
  throw problem;
}
