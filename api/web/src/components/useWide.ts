/** Whether the window is wide enough for the layouts of a PC (720 px), for two panes (1000 px) and for three columns (1180 px). */
import { ref } from 'vue'

function watchMedia(query: string) {
  const media = window.matchMedia(query)
  const matches = ref(media.matches)
  media.addEventListener('change', (event) => (matches.value = event.matches))
  return matches
}

export const wide = watchMedia('(min-width: 720px)')
export const twoPanes = watchMedia('(min-width: 1000px)')
export const portrait = watchMedia('(orientation: portrait)')
export const veryWide = watchMedia('(min-width: 1180px)')
