import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

const backend = process.env.QM_WEB_BACKEND ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [vue()],
  build: { outDir: '../static', emptyOutDir: true, target: 'es2022', chunkSizeWarningLimit: 1200 },
  worker: { format: 'es' },
  server: { proxy: { '/api': backend, '/openapi.json': backend } },
})
