/** The live stream as the screens use it: a state to show and events to listen to. */
import { computed, onScopeDispose, ref } from 'vue'
import { connect, type Link } from './connect'
import type { StreamState } from './protocol'
import { realNow, setStoryNow } from '../clock'
import type { StoryNow } from '../api/types'

type Listener = (data: never) => void

const listeners = new Map<string, Set<Listener>>()
const since = ref(Date.now())
export const streamState = ref<StreamState>('closed')
let link: Link | null = null
let wasAway = false

/** Real seconds since the last word of the server; 0 while live. */
export const staleSeconds = computed(() => (streamState.value === 'live' ? 0 : Math.max(0, Math.round((realNow.value - since.value) / 1000))))
export const isLive = computed(() => streamState.value === 'live')

function emit(name: string, data: unknown): void {
  listeners.get(name)?.forEach((listener) => listener(data as never))
}

export function startLive(): void {
  link ??= connect((message) => {
    if (message.type === 'event') {
      if (message.name === 'hello') setStoryNow(message.data as StoryNow)
      emit(message.name === 'reset' ? 'again' : message.name, message.data)
      return
    }
    streamState.value = message.state
    since.value = message.since
    if (message.state === 'stale') wasAway = true
    if (message.state === 'live' && wasAway) {
      wasAway = false
      emit('again', null)
    }
  })
  link.send({ type: 'open' })
}

export function stopLive(): void {
  link?.send({ type: 'close' })
}

/** Call `action` for every event of this name while the calling component lives. 'again' comes after a broken connection is back. */
export function onLive<T>(name: string, action: (data: T) => void): void {
  const set = listeners.get(name) ?? new Set<Listener>()
  listeners.set(name, set)
  set.add(action as Listener)
  onScopeDispose(() => set.delete(action as Listener))
}

/** The same for code that lives as long as the page. */
export function onLiveAlways<T>(name: string, action: (data: T) => void): void {
  const set = listeners.get(name) ?? new Set<Listener>()
  listeners.set(name, set)
  set.add(action as Listener)
}

const REFRESH_MS = 400

/** Run `load` at once, and again (never two at a time, at most every 400 ms) when one of these events comes or the stream is back. */
export function useFresh(load: () => Promise<void>, names: string[]): () => void {
  let busy = false
  let again = false
  let timer: ReturnType<typeof setTimeout> | undefined
  const run = async (): Promise<void> => {
    if (busy) {
      again = true
      return
    }
    busy = true
    try {
      await load()
    } finally {
      busy = false
      if (again) {
        again = false
        soon()
      }
    }
  }
  const soon = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined
      void run()
    }, REFRESH_MS)
  }
  for (const name of [...names, 'again']) onLive(name, soon)
  onScopeDispose(() => clearTimeout(timer))
  void run()
  return () => void run()
}
