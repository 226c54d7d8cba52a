// Browsers start no worker from a page on disk. The site's search then runs in a hidden frame, which looks like one.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement('iframe');
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow, worker = new URL(address, location.href);
      this.inside = inside;
      inside.document.open();
      inside.document.write('<!doctype html><body>');
      inside.document.close();
      // What a worker's code calls, with the meaning that it has there.
      inside.postMessage = data => {
        const event = new MessageEvent('message', { data: structuredClone(data) });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      const load = source => new Promise((resolve, reject) => {
        const script = inside.document.createElement('script');
        script.src = new URL(source, worker);
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${script.src} cannot be loaded`));
        inside.document.body.append(script);
      });
      inside.importScripts = (...sources) => sources.reduce((before, one) => before.then(() => load(one)), Promise.resolve());
      this.loaded = load(worker);
    }

    postMessage(data) {
      this.loaded.then(() => this.inside.dispatchEvent(new this.inside.MessageEvent('message', { data: structuredClone(data) })));
    }

    terminate() { this.inside.frameElement.remove(); }
  };
}
