"""A trained network as a stream: what exported models and whole files are compared with."""

import numpy as np
import torch

from models.streaming.causal_layers import History


class NetworkStream:
    """Takes blocks of any size of one channel and returns as many samples, ``latency_samples`` late."""

    def __init__(self, network):
        self.latency_samples = network.hop_samples + network.delay_samples
        self._network, self._past = network.eval(), None
        self._pending = np.zeros(0, np.float32)
        self._ready = np.zeros(network.hop_samples, np.float32)
        self._warm_up = network.delay_samples

    @torch.inference_mode()
    def push(self, block):
        self._pending = np.concatenate([self._pending, block])
        whole = len(self._pending) - len(self._pending) % self._network.hop_samples
        if whole:
            history = History(self._past)
            output = self._network.process(torch.from_numpy(self._pending[:whole].copy())[None], history)[0].numpy()
            self._past, self._pending = history.next, self._pending[whole:]
            silent = min(self._warm_up, whole)  # what comes before the first real sample answers no input
            self._warm_up -= silent
            self._ready = np.concatenate([self._ready, np.zeros(silent, np.float32), output[silent:]])
        given, self._ready = self._ready[: len(block)], self._ready[len(block) :]
        return given

    def flush(self):
        return self.push(np.zeros(self.latency_samples, np.float32))
