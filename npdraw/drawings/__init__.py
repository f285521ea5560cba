"""Work with drawings: sample, read and write as JSON, edit, complete, animate."""
