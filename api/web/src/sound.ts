/** Tones made by the browser itself; silent until a person has touched the page once. */
import { ref } from 'vue'

let context: AudioContext | null = null
export const soundOn = ref(false)

/** Must be called from a click: browsers keep pages silent before. */
export async function unlockSound(): Promise<void> {
  context ??= new AudioContext()
  await context.resume()
  soundOn.value = true
}

export function muteSound(): void {
  soundOn.value = false
}

function tone(hertz: number, startS: number, lengthS: number): void {
  if (!context || !soundOn.value) return
  const begin = context.currentTime + startS
  const oscillator = context.createOscillator()
  const gain = context.createGain()
  oscillator.frequency.value = hertz
  gain.gain.setValueAtTime(0.0001, begin)
  gain.gain.exponentialRampToValueAtTime(0.3, begin + 0.02)
  gain.gain.exponentialRampToValueAtTime(0.0001, begin + lengthS)
  oscillator.connect(gain).connect(context.destination)
  oscillator.start(begin)
  oscillator.stop(begin + lengthS + 0.05)
}

/** Something good: short and high. */
export const soundGood = (): void => tone(1320, 0, 0.12)
/** Something to stop for: long and low. */
export const soundBad = (): void => tone(220, 0, 0.7)
/** A receipt is clean: two high tones. */
export function soundClean(): void {
  tone(1046, 0, 0.12)
  tone(1568, 0.16, 0.18)
}
/** A critical alert nobody has taken. */
export function soundAlarm(): void {
  for (const start of [0, 0.35, 0.7]) tone(440, start, 0.25)
}
