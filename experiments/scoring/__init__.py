"""From pairs of utterance and estimate to rows of scores; `overtone evaluate`."""
