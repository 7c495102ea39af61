/** Calls to the HTTP API: the session cookie goes along by itself, the CSRF token is added, errors become ApiError. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly where: string | null,
  ) {
    super(message)
  }
}

// Planning a day may take half a minute on a busy machine.
const TIMEOUT_MS = 45_000
let csrf = ''
let onUnauthorized: () => void = () => undefined

export function setCsrf(token: string): void {
  csrf = token
}

/** What to do when the session has ended (set once by the session store). */
export function whenUnauthorized(action: () => void): void {
  onUnauthorized = action
}

interface ErrorBody {
  error?: { code?: string; message?: string; where?: string | null }
}

async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  if (method !== 'GET') headers['X-CSRF-Token'] = csrf
  let response: Response
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
  } catch {
    throw new ApiError(0, 'unreachable', 'unreachable', null)
  }
  if (!response.ok) {
    const failed = (await response.json().catch(() => ({}))) as ErrorBody
    if (response.status === 401 && !(path === '/session')) onUnauthorized()
    throw new ApiError(
      response.status,
      failed.error?.code ?? String(response.status),
      failed.error?.message ?? response.statusText,
      failed.error?.where ?? null,
    )
  }
  if (response.status === 204) return undefined as T
  return (await response.json()) as T
}

type Query = Record<string, string | number | boolean | null | undefined>

export const get = <T>(path: string, query: Query = {}): Promise<T> => {
  const parts = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '')
  const text = new URLSearchParams(parts.map(([key, value]) => [key, String(value)])).toString()
  return request<T>('GET', text ? `${path}?${text}` : path)
}
export const post = <T>(path: string, body: unknown = {}): Promise<T> => request<T>('POST', path, body)
export const patch = <T>(path: string, body: unknown): Promise<T> => request<T>('PATCH', path, body)
export const del = <T>(path: string): Promise<T> => request<T>('DELETE', path)
