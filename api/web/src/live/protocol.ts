/** What the live stream tells the screens, whoever holds the one connection of this browser. */

/** Event names of the stream; the durable ones carry an id and are resumed by Last-Event-ID. */
export const EVENT_NAMES = [
  'hello', 'vehicles', 'readings',
  'reset', // the server no longer knows what was missed: read everything again
  'alert', 'receipt', 'plan', 'order', 'stock', 'device', 'rejection',
] as const

export type StreamState = 'connecting' | 'live' | 'stale' | 'closed'

export type FromStream =
  | { type: 'state'; state: StreamState; since: number }
  | { type: 'event'; name: string; data: unknown }

export type ToStream = { type: 'open' } | { type: 'close' } | { type: 'bye' } | { type: 'who' }

export const LIVE_URL = '/api/v1/live'
export const HEALTH_URL = '/api/v1/health'
export const SHARED_NAME = 'qm-live'
