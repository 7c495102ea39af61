/** Which theme is on: the person's choice, else what the system prefers. */
import { computed, ref, watchEffect } from 'vue'
import { applyTokens, dark, light } from './tokens'

export type ThemeChoice = 'system' | 'light' | 'dark'
const KEY = 'qm.theme'

const saved = localStorage.getItem(KEY)
export const themeChoice = ref<ThemeChoice>(saved === 'light' || saved === 'dark' ? saved : 'system')

const query = window.matchMedia('(prefers-color-scheme: dark)')
const systemDark = ref(query.matches)
query.addEventListener('change', (event) => (systemDark.value = event.matches))

export const isDark = computed(() => themeChoice.value === 'dark' || (themeChoice.value === 'system' && systemDark.value))
export const tokens = computed(() => (isDark.value ? dark : light))

watchEffect(() => {
  applyTokens(tokens.value, isDark.value)
  localStorage.setItem(KEY, themeChoice.value)
})

/** Turn to the other theme and remember it. */
export function toggleTheme(): void {
  themeChoice.value = isDark.value ? 'light' : 'dark'
}
