/** Addresses of the screens; each is loaded when first opened. */
import { createRouter, createWebHistory } from 'vue-router'
import { homePath, person, resume, type Screen, screens } from './session'

declare module 'vue-router' {
  interface RouteMeta {
    open?: boolean
    screen?: Screen
  }
}

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/login', component: () => import('./views/LoginView.vue'), meta: { open: true } },
    { path: '/gate/:gate?', component: () => import('./views/GateView.vue'), meta: { screen: 'gate' } },
    { path: '/alerts/:id?', component: () => import('./views/AlertsView.vue'), meta: { screen: 'alerts' } },
    { path: '/stock', component: () => import('./views/StockView.vue'), meta: { screen: 'stock' } },
    { path: '/map', component: () => import('./views/MapView.vue'), meta: { screen: 'map' } },
    { path: '/drive', component: () => import('./views/DriveView.vue'), meta: { screen: 'drive' } },
    { path: '/devices', component: () => import('./views/DevicesView.vue'), meta: { screen: 'devices' } },
    { path: '/:rest(.*)*', redirect: () => homePath.value },
  ],
})

let resumed: Promise<void> | null = null

router.beforeEach(async (to) => {
  resumed ??= resume()
  await resumed
  if (!person.value && !to.meta.open) return { path: '/login', query: to.fullPath === '/' ? {} : { back: to.fullPath } }
  if (person.value && to.meta.open) return screens.value.length === 0 || homePath.value
  if (to.meta.screen && !screens.value.includes(to.meta.screen)) return homePath.value
  return true
})
