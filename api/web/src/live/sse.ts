/** One EventSource kept alive: state, silence check and reopening. Knows no framework and runs in a page or a shared worker. */
import { EVENT_NAMES, type FromStream, HEALTH_URL, LIVE_URL, type StreamState } from './protocol'

const SILENCE_MS = 25_000
const PROBE_TIMEOUT_MS = 5_000
const REOPEN_MS = 3_000

export class LiveStream {
  private source: EventSource | null = null
  private wanted = false
  private state: StreamState = 'closed'
  private since = Date.now()
  private heardAt = Date.now()
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(private readonly tell: (message: FromStream) => void) {}

  open(): void {
    if (this.wanted && this.source && this.source.readyState !== EventSource.CLOSED) {
      this.announce()
      return
    }
    this.wanted = true
    this.connect()
  }

  close(): void {
    this.wanted = false
    clearTimeout(this.timer)
    this.source?.close()
    this.source = null
    this.turn('closed')
  }

  announce(): void {
    this.tell({ type: 'state', state: this.state, since: this.since })
  }

  private turn(state: StreamState): void {
    if (state === this.state) return
    if (!(state === 'stale' && this.state === 'connecting')) this.since = state === 'stale' ? this.heardAt : Date.now()
    this.state = state
    this.announce()
  }

  private connect(): void {
    clearTimeout(this.timer)
    this.source?.close()
    const source = new EventSource(LIVE_URL)
    this.source = source
    if (this.state === 'closed') this.turn('connecting')
    source.onopen = () => {
      this.heard()
      this.turn('live')
    }
    source.onerror = () => {
      this.turn('stale')
      // A refused stream (401, 5xx) is never retried by the browser itself.
      if (source.readyState === EventSource.CLOSED && this.wanted) this.timer = setTimeout(() => void this.reopen(), REOPEN_MS)
    }
    for (const name of EVENT_NAMES) {
      source.addEventListener(name, (event) => {
        this.heard()
        this.turn('live')
        this.tell({ type: 'event', name, data: JSON.parse((event as MessageEvent<string>).data) })
      })
    }
    this.watchSilence()
  }

  private heard(): void {
    this.heardAt = Date.now()
  }

  private async reopen(): Promise<void> {
    if (!this.wanted) return
    const response = await fetch('/api/v1/session', { credentials: 'same-origin' }).catch(() => null)
    if (response?.status === 401) {
      this.close()
      this.tell({ type: 'event', name: 'unauthorized', data: null })
      return
    }
    if (this.wanted) this.connect()
  }

  private watchSilence(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.checkSilence(), SILENCE_MS)
  }

  /** A cable pulled out gives no error for minutes: when nothing was heard, ask the server whether it is there. */
  private async checkSilence(): Promise<void> {
    if (!this.wanted) return
    if (Date.now() - this.heardAt < SILENCE_MS) {
      this.watchSilence()
      return
    }
    const answered = await fetch(HEALTH_URL, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) }).then((r) => r.ok).catch(() => false)
    if (!this.wanted) return
    if (answered && this.source?.readyState === EventSource.OPEN) {
      this.heard()
      this.turn('live')
      this.watchSilence()
    } else {
      this.turn('stale')
      this.timer = setTimeout(() => void this.reopen(), REOPEN_MS)
    }
  }
}
