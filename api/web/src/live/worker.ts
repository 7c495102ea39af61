/** The shared worker: holds the one stream of this browser and passes what it hears to every open tab. */
import { LiveStream } from './sse'
import type { FromStream, ToStream } from './protocol'

const ports = new Set<MessagePort>()
const stream = new LiveStream((message: FromStream) => ports.forEach((port) => port.postMessage(message)))

;(self as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = (event) => {
  const port = event.ports[0]
  if (!port) return
  ports.add(port)
  port.onmessage = (message: MessageEvent<ToStream>) => {
    if (message.data.type === 'open') {
      ports.add(port)
      stream.open()
      stream.announce()
    }
    if (message.data.type === 'close') stream.close()
    if (message.data.type === 'bye') {
      ports.delete(port)
      if (ports.size === 0) stream.close()
    }
  }
  port.start()
}
