// What failed and what to do, in a sentence for the user.
export class Problem extends Error {}

export function sentence(error) {
  if (error instanceof Problem) return error.message;
  return `Something unexpected happened (${error.message || error}). Reload the page and try again.`;
}
