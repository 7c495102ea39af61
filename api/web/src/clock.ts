/** The scenario's clock (the real one, unless time is simulated) and how times and ages are written. */
import { computed, ref } from 'vue'
import type { StoryNow } from './api/types'

export const realNow = ref(Date.now())
const base = ref({ story: Date.now(), real: Date.now(), speed: 1 })
setInterval(() => (realNow.value = Date.now()), 1000)

export function setStoryNow(told: StoryNow): void {
  base.value = { story: Date.parse(told.now), real: Date.now(), speed: told.speed }
  realNow.value = Date.now()
}

/** Scenario time now, epoch milliseconds. */
export const storyNow = computed(() => base.value.story + Math.max(0, realNow.value - base.value.real) * base.value.speed)
export const storySpeed = computed(() => base.value.speed)
