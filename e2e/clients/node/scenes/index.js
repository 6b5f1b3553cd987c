'use strict';
// The scenarios by name.

module.exports = {
  ...require('./sending'),
  ...require('./timing'),
  ...require('./transactions'),
  ...require('./filters'),
  ...require('./consuming'),
  ...require('./access'),
};
