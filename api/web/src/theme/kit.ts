/** The component kit's dark theme, for the components that the screens use and no others: the whole of it is 30 kB more. */
import {
  alertDark, buttonDark, cardDark, checkboxDark, commonDark, dataTableDark, dialogDark, drawerDark, emptyDark, formDark, type GlobalTheme,
  inputDark, inputNumberDark, internalSelectionDark, internalSelectMenuDark, messageDark, modalDark, paginationDark, popconfirmDark,
  popoverDark, progressDark, radioDark, scrollbarDark, selectDark, tooltipDark,
} from 'naive-ui'

export const kitDark: GlobalTheme = {
  name: 'dark',
  common: commonDark,
  Alert: alertDark,
  Button: buttonDark,
  Card: cardDark,
  Checkbox: checkboxDark,
  DataTable: dataTableDark,
  Dialog: dialogDark,
  Drawer: drawerDark,
  Empty: emptyDark,
  Form: formDark,
  Input: inputDark,
  InputNumber: inputNumberDark,
  InternalSelection: internalSelectionDark,
  InternalSelectMenu: internalSelectMenuDark,
  Message: messageDark,
  Modal: modalDark,
  Pagination: paginationDark,
  Popconfirm: popconfirmDark,
  Popover: popoverDark,
  Progress: progressDark,
  Radio: radioDark,
  Scrollbar: scrollbarDark,
  Select: selectDark,
  Tooltip: tooltipDark,
}
