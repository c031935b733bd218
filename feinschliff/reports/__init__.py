"""What people read: any result on disk as HTML or Markdown, without torch."""
