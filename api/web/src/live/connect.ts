/** Chooses who holds the stream: a shared worker, else the tab that leads, else this tab. Knows no framework. */
import { LiveStream } from './sse'
import { type FromStream, SHARED_NAME, type ToStream } from './protocol'

export interface Link {
  send(message: ToStream): void
}

function viaSharedWorker(hear: (message: FromStream) => void): Link {
  const worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module', name: SHARED_NAME })
  worker.port.onmessage = (event: MessageEvent<FromStream>) => hear(event.data)
  worker.port.start()
  addEventListener('pagehide', () => worker.port.postMessage({ type: 'bye' } satisfies ToStream))
  addEventListener('pageshow', (event) => {
    if (event.persisted) worker.port.postMessage({ type: 'open' } satisfies ToStream)
  })
  return { send: (message) => worker.port.postMessage(message) }
}

function viaLeader(hear: (message: FromStream) => void): Link {
  const channel = new BroadcastChannel(SHARED_NAME)
  let stream: LiveStream | null = null
  let wanted = false
  let asked = false
  const spread = (message: FromStream): void => {
    hear(message)
    channel.postMessage(message)
  }
  channel.onmessage = (event: MessageEvent<FromStream | ToStream>) => {
    const message = event.data
    if (message.type === 'who') stream?.announce()
    else if (message.type === 'close') stream?.close()
    else if (message.type === 'open') stream?.open()
    else if (message.type === 'state' || message.type === 'event') hear(message)
  }
  const lead = (): void => {
    asked = true
    void navigator.locks.request(SHARED_NAME, async () => {
      stream = new LiveStream(spread)
      if (wanted) stream.open()
      await new Promise(() => undefined)
    })
  }
  return {
    send(message) {
      if (message.type === 'open') {
        wanted = true
        if (!asked) lead()
        if (stream) stream.open()
        else channel.postMessage({ type: 'who' } satisfies ToStream)
      }
      if (message.type === 'close') {
        wanted = false
        stream?.close()
        channel.postMessage(message)
      }
    },
  }
}

function direct(hear: (message: FromStream) => void): Link {
  const stream = new LiveStream(hear)
  return {
    send(message) {
      if (message.type === 'open') stream.open()
      if (message.type === 'close') stream.close()
    },
  }
}

export function connect(hear: (message: FromStream) => void): Link {
  if (typeof SharedWorker !== 'undefined') return viaSharedWorker(hear)
  if (typeof BroadcastChannel !== 'undefined' && 'locks' in navigator) return viaLeader(hear)
  return direct(hear)
}
