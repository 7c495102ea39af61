/** The colours of both themes: the only place a colour is written. CSS reads them as --name, the component kit as overrides. */
import type { GlobalThemeOverrides } from 'naive-ui'

export interface Tokens {
  page: string
  surface: string
  sunken: string
  line: string
  lineStrong: string
  text: string
  textSoft: string
  textFaint: string
  accent: string
  accentHover: string
  accentSoft: string
  onAccent: string
  good: string
  goodSoft: string
  critical: string
  criticalSoft: string
  major: string
  majorSoft: string
  minor: string
  minorSoft: string
  warning: string
  warningSoft: string
  outside: string
  stop: string
  onStop: string
  stale: string
  staleSoft: string
}

export const light: Tokens = {
  page: '#f3f5f8',
  surface: '#ffffff',
  sunken: '#eef1f5',
  line: '#dfe4ea',
  lineStrong: '#c3cbd5',
  text: '#16202c',
  textSoft: '#4b5866',
  textFaint: '#667384',
  accent: '#3d4fc4',
  accentHover: '#5061d6',
  accentSoft: '#eceefb',
  onAccent: '#ffffff',
  good: '#157347',
  goodSoft: '#e3f4ea',
  critical: '#b3261e',
  criticalSoft: '#fdeae8',
  major: '#b4500b',
  majorSoft: '#fdeede',
  minor: '#886300',
  minorSoft: '#fbf3d8',
  warning: '#2b6a8c',
  warningSoft: '#e4f1f7',
  outside: '#fdeeec',
  stop: '#b3261e',
  onStop: '#ffffff',
  stale: '#667384',
  staleSoft: '#e8ebef',
}

export const dark: Tokens = {
  page: '#10151c',
  surface: '#181f28',
  sunken: '#121820',
  line: '#2a3442',
  lineStrong: '#3d4a5b',
  text: '#e8edf3',
  textSoft: '#b0bcc9',
  textFaint: '#8d9aa9',
  accent: '#96a4ff',
  accentHover: '#adb8ff',
  accentSoft: '#262d52',
  onAccent: '#11162f',
  good: '#5fce93',
  goodSoft: '#173426',
  critical: '#ff8a80',
  criticalSoft: '#451e1c',
  major: '#ffab66',
  majorSoft: '#42280f',
  minor: '#ecc75a',
  minorSoft: '#3a3010',
  warning: '#7cc4e6',
  warningSoft: '#15313f',
  outside: '#2a1c21',
  stop: '#9c2720',
  onStop: '#ffffff',
  stale: '#94a1b1',
  staleSoft: '#28313d',
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Write the tokens to the document as CSS custom properties. */
export function applyTokens(tokens: Tokens, isDark: boolean): void {
  const root = document.documentElement
  for (const [name, value] of Object.entries(tokens)) root.style.setProperty(`--${kebab(name)}`, value)
  root.style.colorScheme = isDark ? 'dark' : 'light'
  root.dataset.theme = isDark ? 'dark' : 'light'
}

export const FONT =
  'system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif'

/** The same tokens in the component kit's words. */
export function kitOverrides(t: Tokens): GlobalThemeOverrides {
  return {
    common: {
      fontFamily: FONT,
      fontSize: '14px',
      borderRadius: '8px',
      borderRadiusSmall: '6px',
      heightMedium: '38px',
      heightLarge: '48px',
      primaryColor: t.accent,
      primaryColorHover: t.accentHover,
      primaryColorPressed: t.accent,
      primaryColorSuppl: t.accentHover,
      infoColor: t.accent,
      infoColorHover: t.accentHover,
      successColor: t.good,
      warningColor: t.minor,
      errorColor: t.critical,
      errorColorHover: t.critical,
      errorColorPressed: t.critical,
      bodyColor: t.page,
      cardColor: t.surface,
      modalColor: t.surface,
      popoverColor: t.surface,
      tableColor: t.surface,
      tableHeaderColor: t.sunken,
      tableColorHover: t.sunken,
      inputColor: t.surface,
      borderColor: t.lineStrong,
      dividerColor: t.line,
      textColorBase: t.text,
      textColor1: t.text,
      textColor2: t.text,
      textColor3: t.textFaint,
      placeholderColor: t.textFaint,
    },
    Button: { textColorPrimary: t.onAccent, textColorHoverPrimary: t.onAccent, textColorPressedPrimary: t.onAccent, textColorFocusPrimary: t.onAccent, fontWeight: '500' },
    Input: { border: `1px solid ${t.lineStrong}`, color: t.surface, colorFocus: t.surface },
    InternalSelection: { border: `1px solid ${t.lineStrong}`, color: t.surface, colorActive: t.surface },
    DataTable: { thFontWeight: '600', thTextColor: t.textSoft, borderColor: t.line, tdColorHover: t.sunken, thColor: t.sunken, tdColor: t.surface },
  }
}
