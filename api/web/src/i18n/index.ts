/** Both languages of the screens and the one in use; a person's choice is kept in the browser and at the server. */
import { createI18n } from 'vue-i18n'
import type { Language } from '../api/types'
import en from './en.json'
import zh from './zh-CN.json'

const KEY = 'qm.language'
const saved = localStorage.getItem(KEY)
const initial: Language = saved === 'en' || saved === 'zh-CN' ? saved : navigator.language.startsWith('en') ? 'en' : 'zh-CN'

export const i18n = createI18n({ legacy: false, locale: initial, fallbackLocale: false, messages: { 'zh-CN': zh, en } })

export function setLanguage(language: Language): void {
  i18n.global.locale.value = language
  localStorage.setItem(KEY, language)
  document.documentElement.lang = language
}
setLanguage(initial)
