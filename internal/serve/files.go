package serve

func (s *server) addFiles() {}
